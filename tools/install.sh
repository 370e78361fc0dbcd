# shellcheck shell=bash
# install.sh - sourced: install system packages, quietly, and only what is missing (apt, dnf, brew).
# Needs bash. With everything there it does nothing and needs neither network nor rights.
#
#   install_log=FILE           where the output of the package manager goes
#   need_packages WORD...      Debian names; translated for the others; returns 1 with a message

have() {
    command -v "$1" >/dev/null 2>&1
}

# Debian's name in another system's naming; empty where that has no such package or needs none.
package_on() {
    case $1:$2 in
    apt:*) echo "$2" ;;
    dnf:build-essential) echo gcc make glibc-devel libasan libubsan libtsan ;;
    dnf:clang) echo clang compiler-rt ;;
    dnf:clang-format-14 | dnf:clang-format) echo clang-tools-extra ;;
    dnf:pkg-config) echo pkgconf-pkg-config ;;
    dnf:python3-venv) ;;
    dnf:lib*-dev)
        local name=${2%-dev}
        case $name in libjansson | libpcre2 | libutf8proc) name=${name#lib} ;; esac
        case $name in libcurl4-openssl) name=libcurl ;; libsqlite3) name=sqlite ;; esac
        echo "$name-devel"
        ;;
    brew:build-essential | brew:clang | brew:python3-venv) ;;
    brew:pkg-config) echo pkgconf ;;
    brew:python3) echo python ;;
    brew:lib*-dev)
        local name=${2%-dev}
        case $name in libedit) ;; *) name=${name#lib} ;; esac
        case $name in curl4-openssl) name=curl ;; sqlite3) name=sqlite ;; esac
        echo "$name"
        ;;
    *) echo "$2" ;;
    esac
}

package_there() {
    case $1 in
    apt) [ "$(dpkg-query -W -f '${Status}' "$2" 2>/dev/null)" = "install ok installed" ] ;;
    dnf) rpm -q --whatprovides "$2" >/dev/null 2>&1 ;;
    brew) brew list "$2" >/dev/null 2>&1 ;;
    esac
}

package_kind() {
    if have apt-get; then
        echo apt
    elif have dnf; then
        echo dnf
    elif have brew; then
        echo brew
    fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

# The lists are refreshed once per run, and only when something is to be installed.
refresh_packages() {
    [ -z "${packages_fresh:-}" ] || return 0
    packages_fresh=1
    as_root apt-get update -q
}

need_packages() {
    local kind word package missing=() log=${install_log:-/dev/null}
    kind=$(package_kind)
    [ -n "$kind" ] || { echo "no apt-get, dnf or brew here; please install: $*" >&2; return 1; }
    for word in "$@"; do
        for package in $(package_on "$kind" "$word"); do
            package_there "$kind" "$package" || missing+=("$package")
        done
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$kind" != brew ] && [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; then
        echo "missing, and installing needs an administrator: ${missing[*]}" >&2
        return 1
    fi
    echo "installing: ${missing[*]}"
    case $kind in
    apt)
        refresh_packages >>"$log" 2>&1 </dev/null
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
            "${missing[@]}" >>"$log" 2>&1 </dev/null
        ;;
    dnf) as_root dnf install -y -q "${missing[@]}" >>"$log" 2>&1 </dev/null ;;
    brew) brew install --quiet "${missing[@]}" >>"$log" 2>&1 </dev/null ;;
    esac && return 0
    tail -n 5 "$log" >&2
    echo "could not install: ${missing[*]}" >&2
    return 1
}
