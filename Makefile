# make [CC=...] [SAN=address,undefined] [OUT=dir]      the library and the command
# make tests | fuzz | shared | test | lint | format | install | clean     (./check runs them all)
# Sources are found, not listed; objects lie in $(OUT)/<target>; the native release is ./lar.
CC      ?= cc
ifeq ($(origin CC),default)
CC      := cc
endif
AR      ?= ar
PKG_CONFIG ?= pkg-config
OUT     ?= build
MACHINE := $(shell $(CC) -dumpmachine)
HOST    := $(shell cc -dumpmachine)
CCNAME  := $(notdir $(firstword $(CC)))
comma   := ,
B       := $(OUT)/$(MACHINE)-$(CCNAME)$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(LOOSE),-loose)$(if $(FUZZER),-fuzzer)
ARCH    := $(firstword $(subst -, ,$(MACHINE)))
WINDOWS := $(findstring mingw,$(MACHINE))
DARWIN  := $(findstring apple,$(MACHINE))$(findstring darwin,$(MACHINE))
PREFIX  ?= /usr/local

# -Og with sanitizers: gcc takes minutes for the plain kernels with more.
OPT     ?= $(if $(SAN),-Og,-O2)
WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
# Numerics (docs/NUMERICS.md): no contraction, no fast-math, nowhere.
NUM     := -ffp-contract=off -fno-math-errno -fno-trapping-math
CFLAGS  += -std=c11 -g $(OPT) -fPIC $(WARN) $(NUM) -Isrc -Iinclude -pthread -fvisibility=hidden -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
ifdef SAN
CFLAGS  += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS += -fsanitize=$(SAN)
endif
ifdef FUZZER
CFLAGS  += -fsanitize=fuzzer-no-link
endif

# Rooms compiled once per instruction set: kernels are written once, the best is chosen at start
# (src/ops/variants.def).
VARIANT_ROOMS := quant ops
ifneq ($(filter x86_64 amd64,$(ARCH)),)
VARIANTS := generic avx2 avxvnni avx512f avx512 amx
else ifneq ($(filter aarch64 arm64,$(ARCH)),)
VARIANTS := generic neon dotprod i8mm
else
VARIANTS := generic
endif
VFLAGS_generic :=
VFLAGS_avx2    := -mavx2 -mfma -mf16c
VFLAGS_avxvnni := $(VFLAGS_avx2) -mavxvnni
VFLAGS_avx512f := $(VFLAGS_avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512
VFLAGS_avx512  := $(VFLAGS_avx512f) -mavx512vnni
VFLAGS_amx     := $(VFLAGS_avx512) -mamx-tile -mamx-int8
# To measure what one answer costs (bench/one_answer): for this processor alone, not for use.
ifdef LOOSE
CFLAGS  += -DLAR_LOOSE
VFLAGS_avx512 += $(if $(shell grep -m1 -o avx512_bf16 /proc/cpuinfo 2>/dev/null),-mavx512bf16)
ifneq ($(filter install test,$(MAKECMDGOALS)),)
$(error LOOSE=1 is neither tested nor installed)
endif
endif
VFLAGS_neon    :=
VFLAGS_dotprod := -march=armv8.2-a+dotprod
VFLAGS_i8mm    := $(VFLAGS_dotprod)+i8mm

ENGINE  := base tensor quant ops device/cpu format nn models infer
HOUSE   := text convert store tasks api
SRC_ONCE := $(foreach r,$(filter-out $(VARIANT_ROOMS),$(ENGINE)) $(HOUSE),$(wildcard src/$(r)/*.c))
SRC_VAR := $(foreach r,$(VARIANT_ROOMS),$(wildcard src/$(r)/*.c))
ifneq ($(WINDOWS),)
SRC_ONCE := $(filter-out %_posix.c,$(SRC_ONCE))
EXE     := .exe
else
SRC_ONCE := $(filter-out %_win.c,$(SRC_ONCE))
endif
PKGS    := jansson libpcre2-8 libutf8proc libsodium libcurl sqlite3
# On Windows the store does without what is not there: *_none.c say so.
ABSENT  := $(if $(WINDOWS),$(foreach p,libcurl sqlite3,$(shell $(PKG_CONFIG) --exists $(p) || echo $(p))))
USED    := $(filter-out $(ABSENT),$(PKGS))
SRC_ONCE := $(filter-out $(if $(filter libcurl,$(USED)),%/http_none.c,%/http.c) \
	$(if $(filter sqlite3,$(USED)),%/index_none.c,%/index.c),$(SRC_ONCE))
OBJ     := $(SRC_ONCE:%.c=$(B)/%.o) $(foreach v,$(VARIANTS),$(SRC_VAR:%.c=$(B)/%.$(v).o))
ENGINE_OBJ := $(foreach r,$(ENGINE),$(filter $(B)/src/$(r)/%,$(OBJ)))
# The server is a part of the command, where its library is.
SERVE   := $(if $(WINDOWS),,$(shell $(PKG_CONFIG) --exists libmicrohttpd 2>/dev/null && echo 1))
APP_SRC := $(filter-out $(if $(SERVE),,src/app/verb_serve.c),$(wildcard src/app/*.c)) $(if $(SERVE),$(wildcard src/serve/*.c))
APP_OBJ := $(APP_SRC:%.c=$(B)/%.o)

APP_PKGS := $(if $(WINDOWS),,libedit) $(if $(SERVE),libmicrohttpd)
# Debian's libcurl names the host's own headers, which no other compiler must see.
PKG_CFLAGS := $(filter-out -I/usr/include/%-linux-gnu,$(shell $(PKG_CONFIG) --cflags $(USED) 2>/dev/null))
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(USED) 2>/dev/null)
APP_CFLAGS := $(if $(SERVE),-DLAR_SERVE) $(if $(APP_PKGS),$(shell $(PKG_CONFIG) --cflags $(APP_PKGS) 2>/dev/null))
APP_LIBS := $(if $(APP_PKGS),$(shell $(PKG_CONFIG) --libs $(APP_PKGS) 2>/dev/null))
LIBS    := $(PKG_LIBS) $(if $(WINDOWS),-lpsapi -lshell32,-lm -pthread)

ABI     := $(shell sed -n 's/^\#define LAR_ABI //p' include/lar.h)
VERSION := $(shell sed -n 's/^\#define LAR_VERSION "\(.*\)"/\1/p' include/lar.h)
ifneq ($(WINDOWS),)
SHARED  := liblar-$(ABI).dll
else ifneq ($(DARWIN),)
SHARED  := liblar.$(ABI).dylib
SHARED_LINK := liblar.dylib
SHARED_FLAGS := -install_name $(PREFIX)/lib/$(SHARED)
else
SHARED  := liblar.so.$(ABI)
SHARED_LINK := liblar.so
SHARED_FLAGS := -Wl,-soname,$(SHARED) -Wl,-z,defs
endif

TESTS   := $(patsubst tests/%.c,$(B)/tests/%$(EXE),$(wildcard tests/test_*.c))
FUZZ    := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%$(EXE),$(wildcard tests/fuzz/fuzz_*.c))
NATIVE  := $(if $(SAN)$(LOOSE),,$(if $(filter $(HOST),$(MACHINE)),$(if $(filter build,$(OUT)),$(if $(filter cc gcc,$(CCNAME)),lar))))

all: $(B)/lar$(EXE) $(NATIVE)
lar: $(B)/lar$(EXE)
	@cp $< $@.tmp && mv -f $@.tmp $@
$(B)/lar$(EXE): $(APP_OBJ) $(B)/liblar.a
	@echo "  LINK $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) $(APP_LIBS)
$(B)/liblar.a: $(OBJ)
	@echo "  AR   $@"
	@rm -f $@; $(AR) rcs $@ $^

$(B)/$(SHARED): $(OBJ)
	@echo "  LINK $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -shared $(SHARED_FLAGS) -o $@ $^ $(LIBS)
	@$(if $(SHARED_LINK),ln -sf $(SHARED) $(@D)/$(SHARED_LINK))

define compile
	@mkdir -p $(@D)
	@echo "  CC   $(patsubst $(B)/%,%,$@)"
	@$(CC) $(CFLAGS) $(1) -MMD -MP -c -o $@ $<
endef
$(B)/src/app/%.o: src/app/%.c
	$(call compile,$(PKG_CFLAGS) $(APP_CFLAGS))
$(B)/src/serve/%.o: src/serve/%.c
	$(call compile,$(PKG_CFLAGS) $(APP_CFLAGS) -I$(B)/src)
# The page's files as numbers, for src/serve/web.c to include.
$(B)/src/serve/web/%.inc: src/serve/web/%
	@mkdir -p $(@D)
	@od -An -v -tu1 $< | sed 's/[0-9][0-9]*/&,/g' > $@.tmp && mv -f $@.tmp $@
$(B)/src/serve/web.o: $(patsubst %,$(B)/%.inc,$(wildcard src/serve/web/*))
$(B)/%.o: %.c
	$(call compile,$(PKG_CFLAGS))
define variant
$(B)/%.$(1).o: %.c
	$$(call compile,$$(VFLAGS_$(1)) -DLAR_VARIANT=$(1) -DLAR_VARIANT_$(1))
endef
$(foreach v,$(VARIANTS),$(eval $(call variant,$(v))))

# Tests that make allocations fail (tests/oom.h).
WRAP    := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=posix_memalign
OOM_TESTS := $(patsubst tests/%.c,%,$(shell grep -l '"oom.h"' tests/test_*.c 2>/dev/null))
$(if $(DARWIN)$(WINDOWS),,$(foreach t,$(OOM_TESTS),$(eval TEST_LDFLAGS_$(t) := $(WRAP))))
$(B)/tests/%$(EXE): $(B)/tests/%.o $(B)/liblar.a
	@echo "  LINK $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS) $(TEST_LDFLAGS_$*)
# What every variant makes of the same numbers; tests/test_simd.c compares.
$(B)/tests/test_simd$(EXE): $(foreach v,$(VARIANTS),$(B)/tests/simd/case.$(v).o)
# Programs that measure need the engine alone: they build where none of the house's libraries is.
$(B)/bench/%$(EXE): $(B)/bench/%.o $(ENGINE_OBJ)
	@echo "  LINK $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(if $(WINDOWS),-lpsapi,-lm -pthread)
# A fuzz target is a function; FUZZER=1 (clang) drives it with libFuzzer, otherwise tests/fuzz/replay.c
# runs it over the files that it is given.
$(B)/fuzz/%$(EXE): $(B)/tests/fuzz/%.o $(if $(FUZZER),,$(B)/tests/fuzz/replay.o) $(B)/liblar.a
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $(if $(FUZZER),-fsanitize=fuzzer) -o $@ $^ $(LIBS)

# The engine with a small main: links with libc and threads, and nothing else.
$(B)/engine$(EXE): $(B)/tests/cross/engine_main.o $(ENGINE_OBJ)
	@echo "  LINK $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(if $(WINDOWS),-lpsapi,-lm -pthread)

tests: $(TESTS)
engine: $(B)/engine$(EXE)
bench: $(patsubst bench/%.c,$(B)/bench/%$(EXE),$(wildcard bench/*.c))
fuzz: $(FUZZ)
lib: $(B)/liblar.a
shared: $(B)/$(SHARED)
where:
	@echo $(B)
test: tests
	@tools/run-tests $(TESTS)

format:
	git ls-files -co --exclude-standard '*.c' '*.h' | xargs $$(command -v clang-format-14 || echo clang-format) -i
lint:
	@tools/lint

install: $(B)/lar$(EXE) $(B)/liblar.a $(B)/$(SHARED)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	install -m 755 $(B)/lar$(EXE) $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(B)/liblar.a $(DESTDIR)$(PREFIX)/lib/
	install -m 755 $(B)/$(SHARED) $(DESTDIR)$(PREFIX)/$(if $(WINDOWS),bin,lib)/
	$(if $(SHARED_LINK),ln -sf $(SHARED) $(DESTDIR)$(PREFIX)/lib/$(SHARED_LINK))
	install -m 644 include/lar.h $(DESTDIR)$(PREFIX)/include/
	install -d $(DESTDIR)$(PREFIX)/share/lar/evals
	install -m 644 share/evals/*.json $(DESTDIR)$(PREFIX)/share/lar/evals/
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|; s|@REQUIRES@|$(USED)|' lar.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/lar.pc
clean:
	rm -rf $(OUT) lar
.PHONY: all tests bench engine fuzz lib shared where test format lint install clean
.SECONDARY:
-include $(OBJ:.o=.d) $(APP_OBJ:.o=.d) $(wildcard $(B)/tests/*.d $(B)/tests/*/*.d $(B)/bench/*.d)
