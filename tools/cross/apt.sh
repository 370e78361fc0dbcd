# shellcheck shell=bash
# apt.sh - sourced: packages of another architecture, and source packages, from where this machine's apt
# gets its own, without changing anything outside of a folder and without rights.

# The machine's configured sources with another type, into $1/sources.list.d. $2: deb or deb-src.
apt_sources() {
    local dir=$1 type=$2 f
    rm -rf "$dir/sources.list.d"
    mkdir -p "$dir/sources.list.d" "$dir/lists/partial" "$dir/cache/archives/partial"
    : >"$dir/status"
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$f" ] || continue
        sed -n "s/^[[:space:]]*deb[[:space:]]\(\[[^]]*\]\)\{0,1\}/$type \1/p" "$f" |
            sed 's/arch=[^] ]*//' >"$dir/sources.list.d/$(basename "$f")"
    done
    for f in /etc/apt/sources.list.d/*.sources; do
        [ -f "$f" ] || continue
        sed -e "s/^Types:.*/Types: $type/" -e '/^Architectures:/d' "$f" \
            >"$dir/sources.list.d/$(basename "$f")"
    done
}

# apt_in DIR ARCH COMMAND...: apt-get with lists, cache and installed packages of its own.
apt_in() {
    local dir=$1 arch=$2
    shift 2
    apt-get -q -y -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$dir/sources.list.d" \
        -o Dir::State::Lists="$dir/lists" -o Dir::State::status="$dir/status" \
        -o Dir::Cache="$dir/cache" -o APT::Architecture="$arch" -o APT::Architectures="$arch" \
        -o APT::Install-Recommends=false -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1 \
        -o Acquire::Languages=none "$@"
}

# The versions of a source package that are listed, newest first.
apt_cache_versions() {
    apt-cache -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$1/sources.list.d" \
        -o Dir::State::Lists="$1/lists" -o Dir::State::status="$1/status" -o Dir::Cache="$1/cache" \
        showsrc "$2" 2>/dev/null | awk -v name="$2" '
            $1 == "Package:" { here = $2 == name } $1 == "Version:" && here { print $2 }' |
        sort -Vru
}
