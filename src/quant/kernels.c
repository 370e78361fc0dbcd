/* kernels.c - the table of one variant: every format of formats.def. Depends on quant/kernels.h. */
#include "base/simd.h"
#include "quant/kernels.h"

#define FORMAT(name) extern const lar_format LAR_VSYM(lar_format_##name);
#include "quant/formats.def"
#undef FORMAT

extern void LAR_VSYM(lar_acts_quantize)(lar_acts *a, int c0, int c1);
extern uint64_t LAR_VSYM(lar_peak)(bool integer, int64_t rounds, uint64_t *sum);
extern uint64_t LAR_VSYM(lar_read)(const uint8_t *p, size_t n, int streams);

#define NAME_(v) #v
#define NAME(v) NAME_(v)

extern const lar_kernels LAR_VSYM(lar_kernels);
const lar_kernels LAR_VSYM(lar_kernels) = {
    .variant = NAME(LAR_VARIANT),
    .formats =
        {
#define FORMAT(name) [LAR_DT_##name] = &LAR_VSYM(lar_format_##name),
#include "quant/formats.def"
#undef FORMAT
        },
    .acts_quantize = LAR_VSYM(lar_acts_quantize),
    .peak = LAR_VSYM(lar_peak),
    .read = LAR_VSYM(lar_read),
};
