/* dtype.c - the table of element types. */
#include "tensor/dtype.h"

const lar_dtype lar_dtypes[LAR_N_DTYPES] = {
#define DTYPE(name_, id_, block_, bytes_)                                                          \
    {.name = #name_, .id = (id_), .block = (block_), .bytes = (bytes_)},
#include "tensor/dtype.def"
#undef DTYPE
};

const lar_dtype *lar_dtype_by_id(uint32_t id)
{
    for (int i = 0; i < LAR_N_DTYPES; i++)
        if (lar_dtypes[i].id == id)
            return &lar_dtypes[i];
    return NULL;
}

const lar_dtype *lar_dtype_by_name(const char *name)
{
    for (int i = 0; i < LAR_N_DTYPES; i++) {
        const char *a = lar_dtypes[i].name, *b = name;
        while (*a && (*b | ((*b >= 'A' && *b <= 'Z') ? 32 : 0)) == *a)
            a++, b++;
        if (!*a && !*b)
            return &lar_dtypes[i];
    }
    return NULL;
}
