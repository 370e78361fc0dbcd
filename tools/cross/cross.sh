# shellcheck shell=bash
# cross.sh - sourced by ./check --cross: the engine's tests and `lar` on other systems.
#   arm64    built with Debian's cross compiler, run under qemu-user
#   Windows  built with mingw-w64, run under Wine
#   macOS    the engine, built and linked with zig's clang; not run
# Libraries for arm64 are Debian's own packages for that architecture, those for Windows are built from
# Debian's source packages. All of it lies in $out/../cross; a second run fetches and builds nothing.

cross() {
    local base
    base=$(cd "$out/.." && pwd)
    work=$base/cross
    mkdir -p "$work"
    export LAR_TEST_SECONDS=${LAR_TEST_SECONDS:-1800}
    if ! have apt-get; then
        skip "arm64, Windows" "their libraries come from Debian's archive, and there is no apt-get"
    else
        need_packages python3 qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross dpkg-dev cmake \
            autoconf automake libtool gcc-mingw-w64-x86-64-posix binutils-mingw-w64-x86-64 wine wine64 || { count 0 1 0; return; }
        # shellcheck source=tools/cross/apt.sh
        . tools/cross/apt.sh
        build "build, native" all engine || return
        native=$(folder)
        cross_arm64
        cross_windows
    fi
    need_packages python3-venv || { count 0 1 0; return; }
    cross_macos
}

# ---- arm64 ----------------------------------------------------------------------------------------

arm64_libraries() {
    local dir=$work/arm64-apt deb
    [ -f "$work/arm64/complete" ] && return
    apt_sources "$dir" deb
    apt_in "$dir" arm64 update || return 1
    apt_in "$dir" arm64 install --download-only libjansson-dev libpcre2-dev libutf8proc-dev \
        libsodium-dev libcurl4-openssl-dev libsqlite3-dev libedit-dev libcmocka-dev || return 1
    rm -rf "$work/arm64"
    mkdir -p "$work/arm64/usr/lib"
    ln -s usr/lib "$work/arm64/lib"
    for deb in "$dir"/cache/archives/*.deb; do
        # The cross compiler has its own headers of libc and the kernel.
        case ${deb##*/} in libc6-dev_* | linux-libc-dev_* | libc-dev-bin_*) continue ;; esac
        dpkg-deb -x "$deb" "$work/arm64" || return 1
    done
    rm -rf "$dir"
    touch "$work/arm64/complete"
}

cross_arm64() {
    local root=$work/arm64 libs b
    built_counts "arm64: libraries" arm64_libraries || return
    libs=$root/usr/lib/aarch64-linux-gnu
    local run=(qemu-aarch64 -L "$root")
    (
        export CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar PKG_CONFIG_LIBDIR=$libs/pkgconfig
        export PKG_CONFIG_SYSROOT_DIR=$root CFLAGS="-isystem $root/usr/include"
        export LDFLAGS="-L$libs -Wl,-rpath-link,$libs:$root/lib/aarch64-linux-gnu"
        build "arm64: build" all tests engine || exit 0
        b=$(folder)
        built_counts "arm64: the same bits" tools/same-bits "$native/lar" "${run[@]}" "$b/lar"
        built_counts "arm64: the engine alone" engine_agrees "${run[@]}" "$b/engine"
        built_counts "arm64: lar run" cross_run "${run[@]}" "$b/lar"
        programs "arm64: tests" "${run[*]}"
    )
}

# The last hash of each line is the same for all variants, and as on this machine.
engine_agrees() {
    local want got
    want=$("$native/engine" tests/data/tiny.gguf | awk '{ print $2 }' | sort -u) || return 1
    got=$("$@" tests/data/tiny.gguf | tr -d '\r') || return 1
    echo "$got; here $want"
    [ -n "$got" ] && [ "$(awk '{ print $2 }' <<<"$got" | sort -u)" = "$want" ]
}

# `lar run` gives the tokens that it gives here.
cross_run() {
    local args=(run -m tests/data/tiny.gguf -p "Once upon a time" -n 16 --temp 0 --raw --json) want got
    local tokens='import json, sys; print(json.load(sys.stdin)["tokens"])'
    want=$("$native/lar" "${args[@]}" </dev/null | python3 -c "$tokens") || return 1
    got=$("$@" "${args[@]}" </dev/null | python3 -c "$tokens") || return 1
    echo "tokens $got, want $want"
    [ "$got" = "$want" ] && [ "${#got}" -gt 2 ]
}

# ---- Windows --------------------------------------------------------------------------------------

# source_package NAME: unpacked to $work/src/NAME. A mirror may lack the newest: then the one before.
source_package() {
    local dir=$work/src-apt name=$1 version
    [ -d "$work/src/$name" ] && return
    mkdir -p "$work/src"
    rm -rf "$work/src/.$name"
    for version in $(apt_cache_versions "$dir" "$name"); do
        mkdir -p "$work/src/.$name"
        (cd "$work/src/.$name" && apt_in "$dir" "$(dpkg --print-architecture)" source "$name=$version") &&
            mv "$work/src/.$name"/*/ "$work/src/$name" && rm -rf "$work/src/.$name" && return
        rm -rf "$work/src/.$name"
    done
    echo "no source of $name"
    return 1
}

with_cmake() {
    local name=$1
    shift
    [ -f "$work/windows/$name.done" ] && return
    rm -rf "$work/build-$name"
    cmake -S "$work/src/$name" -B "$work/build-$name" -DCMAKE_TOOLCHAIN_FILE="$root/tools/cross/mingw.cmake" \
        -DCMAKE_INSTALL_PREFIX="$work/windows" -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_POLICY_VERSION_MINIMUM=3.5 -DBUILD_SHARED_LIBS=OFF "$@" &&
        cmake --build "$work/build-$name" -j "$jobs" && cmake --install "$work/build-$name" &&
        touch "$work/windows/$name.done"
}

windows_libraries() {
    local name
    [ -f "$work/windows/complete" ] && return
    mkdir -p "$work/windows"
    apt_sources "$work/src-apt" deb-src
    apt_in "$work/src-apt" "$(dpkg --print-architecture)" update || return 1
    for name in jansson pcre2 utf8proc libsodium cmocka; do
        source_package "$name" || return 1
    done
    with_cmake jansson -DJANSSON_BUILD_DOCS=OFF -DJANSSON_WITHOUT_TESTS=ON -DJANSSON_EXAMPLES=OFF || return 1
    with_cmake pcre2 -DPCRE2_SUPPORT_JIT=ON -DPCRE2_BUILD_TESTS=OFF -DPCRE2_BUILD_PCRE2GREP=OFF || return 1
    with_cmake utf8proc -DUTF8PROC_ENABLE_TESTING=OFF || return 1
    with_cmake cmocka -DWITH_EXAMPLES=OFF -DUNIT_TESTING=OFF -DWITH_STATIC_LIB=ON || return 1
    [ -f "$work/windows/lib/libcmocka.a" ] ||
        cp "$(find "$work/build-cmocka" -name 'libcmocka*.a' ! -name '*.dll.a' | head -n 1)" \
            "$work/windows/lib/libcmocka.a" || return 1
    if [ ! -f "$work/windows/libsodium.done" ]; then
        (cd "$work/src/libsodium" && { [ -f configure ] || autoreconf -fi; } && ./configure --host=x86_64-w64-mingw32 CC=x86_64-w64-mingw32-gcc-posix \
            --prefix="$work/windows" --disable-shared --enable-static --disable-ssp &&
            make -j "$jobs" && make install) && touch "$work/windows/libsodium.done" || return 1
    fi
    rm -rf "$work/src-apt" "$work"/build-*
    touch "$work/windows/complete"
}

wine_ready() {
    timeout 300 wine cmd /c exit
}

cross_windows() {
    built_counts "Windows: libraries" windows_libraries || return
    export WINEPREFIX=$work/wine WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe="
    built_counts "Windows: Wine starts" wine_ready || return
    (
        export CC=x86_64-w64-mingw32-gcc-posix AR=x86_64-w64-mingw32-ar
        export PKG_CONFIG="pkg-config --static" PKG_CONFIG_LIBDIR=$work/windows/lib/pkgconfig
        export CFLAGS="-isystem $work/windows/include -DPCRE2_STATIC -DUTF8PROC_STATIC -DSODIUM_STATIC"
        export LDFLAGS="-static -L$work/windows/lib"
        build "Windows: build" all engine || exit 0
        # cmocka takes its printf attributes from Microsoft, whose formats are others.
        CFLAGS="$CFLAGS -Wno-format -Wno-unused-const-variable" build "Windows: build of the tests" tests
        b=$(folder)
        built_counts "Windows: the same bits" tools/same-bits "$native/lar" wine "$b/lar.exe"
        built_counts "Windows: the engine alone" engine_agrees wine "$b/engine.exe"
        built_counts "Windows: lar run" cross_run wine "$b/lar.exe"
        exe=.exe programs "Windows: tests" wine
    )
    wineserver -k 2>/dev/null
}

# ---- macOS ----------------------------------------------------------------------------------------

zig_ready() {
    [ -x "$work/zig/bin/python3" ] || python3 -m venv "$work/zig" || return 1
    "$work/zig/bin/python3" -c 'import ziglang' 2>/dev/null ||
        "$work/zig/bin/python3" -m pip install -q ziglang
}

cross_macos() {
    built_counts "macOS: zig" zig_ready || return
    mkdir -p "$work/bin"
    local tool
    for tool in cc ar; do
        printf '#!/bin/sh\nexec "%s" -m ziglang %s "$@"\n' "$work/zig/bin/python3" \
            "$([ $tool = cc ] && echo 'cc -target aarch64-macos' || echo ar)" >"$work/bin/macos-$tool"
        chmod +x "$work/bin/macos-$tool"
    done
    (
        export CC=$work/bin/macos-cc AR=$work/bin/macos-ar ZIG_GLOBAL_CACHE_DIR=$work/zig-cache
        export ZIG_LOCAL_CACHE_DIR=$work/zig-cache
        build "macOS: the engine links" engine MACHINE=aarch64-apple-darwin || exit 0
        built_counts "macOS: it is an arm64 program" macho "$(folder MACHINE=aarch64-apple-darwin)/engine"
    )
}

macho() {
    python3 - "$1" <<'PYTHON'
import struct, sys
magic, cpu, _, kind = struct.unpack("<4I", open(sys.argv[1], "rb").read(16))
found = "magic %08x, processor %08x, type %d" % (magic, cpu, kind)
print(found)
sys.exit(0 if (magic, cpu, kind) == (0xfeedfacf, 0x0100000c, 2) else 1)
PYTHON
}
