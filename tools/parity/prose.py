#!/usr/bin/env python3
"""Prints 50 kB of public-domain prose: the beginning of Jane Austen's "Persuasion" (1817).

The text comes out of Debian's package r-cran-janeaustenr (apt-get download r-cran-janeaustenr), whose data file is
an R lazy-load database: chunks of serialized vectors, of which we want the strings alone.
Usage: prose.py r-cran-janeaustenr_*.deb > prose.txt
"""
import bz2
import lzma
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

N_BYTES = 50000
CHARSXP = 9


def chunks(data):
    """Each object of an .rdb: big-endian length, then zlib, or a letter for the packing and its data."""
    at = 0
    while at + 5 < len(data):
        size, = struct.unpack_from(">I", data, at)
        for skip, open_ in ((4, zlib.decompressobj), (5, lambda: lzma.LZMADecompressor(
                lzma.FORMAT_RAW, filters=[dict(id=lzma.FILTER_LZMA2, preset=6)])), (5, bz2.BZ2Decompressor)):
            try:
                d = open_()
                out = d.decompress(data[at + skip:])
            except (zlib.error, lzma.LZMAError, OSError):
                continue
            if len(out) == size and d.eof:
                at = len(data) - len(d.unused_data)
                yield out
                break
        else:
            return


def strings(blob):
    """The CHARSXPs of a serialized R vector (XDR): flags with type 9, length, bytes."""
    at, out = 0, []
    while at + 8 <= len(blob):
        flags, n = struct.unpack_from(">Ii", blob, at)
        if flags & 0xFF == CHARSXP and flags >> 20 == 0 and 0 <= n <= 4096 and at + 8 + n <= len(blob):
            out.append(blob[at + 8: at + 8 + n].decode("utf-8", "replace"))
            at += 8 + n
        else:
            at += 1
    return out


def main():
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["dpkg-deb", "-x", sys.argv[1], tmp], check=True)
        data = next(pathlib.Path(tmp).rglob("data/Rdata.rdb")).read_bytes()
    for blob in chunks(data):
        lines = strings(blob)
        head = "\n".join(lines[:40])
        if "PERSUASION" in head.upper() and len(lines) > 1000:
            text = "\n".join(lines)
            text = text[text.index("Sir Walter Elliot, of Kellynch Hall"):]
            sys.stdout.buffer.write(text.encode()[:N_BYTES])
            return 0
    print("no Persuasion in that package", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
