"""report - the statistics of a comparison and the page that tells it. Pure functions, no I/O.

A cell is one figure for one model, thread count and instruction set:
    {"figure": ..., "model": ..., "threads": N, "build": "native" | "avx512" | "avx2",
     "values": {engine: [one value per round, or None where it failed]},
     "settings": {engine: text}, "errors": {engine: text}}
The first engine is LAR; all others are peers.
"""

# figure: (title, unit, more is better, target against the best peer)
FIGURES = {
    "prompt": ("Prompt of 512 tokens", "tokens/s", True, None),
    "few": ("Prompt of 8 tokens", "tokens/s", True, 2.0),
    "columns": ("8 sequences, a token of each in a step", "tokens/s", True, 2.0),
    "generate": ("Generation, 128 tokens after 128", "tokens/s", True, 1.4),
    "reader": ("Weight bytes per second of generation against a plain reader", "GB/s", True, 0.85),
    "first": ("Process start to first token, 207-token prompt", "s", False, 0.4),
    "rss": ("Peak memory of that process", "MB", False, 0.6),
    "busy prompt": ("Prompt of 512 beside two busy processes", "tokens/s", True, 2.0),
    "busy generate": ("Generation beside two busy processes", "tokens/s", True, 2.0),
    "loose": ("Cost of one answer: the bench-only loose build", "tokens/s", True, None),
}
FLOATS = ("F16", "BF16")


def median(values):
    v = sorted(x for x in values if x is not None)
    if not v:
        return None
    n = len(v)
    return v[n // 2] if n % 2 else (v[n // 2 - 1] + v[n // 2]) / 2


def pairwise(a, b):
    """The median of the ratios of each round."""
    return median([x / y for x, y in zip(a, b) if x is not None and y])


def target(cell, features):
    """The ratio that was aimed at, or None."""
    figure = cell["figure"]
    if any(cell["model"].endswith(f) for f in FLOATS) and FIGURES[figure][2]:
        return 1.0
    if figure != "prompt":
        return FIGURES[figure][3]
    if cell["build"] == "avx2":
        return 1.5
    if cell["build"] == "avx512":
        return 2.0
    if any("amx" in f for f in features):
        return 3.0
    return 2.0 if "avx512_vnni" in features else 1.5


def best_peer(cell, lar):
    """The peer with the best median, or None."""
    more = FIGURES[cell["figure"]][2]
    found = [(median(v), name) for name, v in cell["values"].items()
             if name != lar and median(v) is not None]
    if not found:
        return None
    return (max if more else min)(found)[1]


def verdict(cell, lar, features):
    """(ratio, target, "reached" | "missed" | ""), the ratio against the best peer."""
    goal = target(cell, features)
    peer = best_peer(cell, lar)
    if peer is None or median(cell["values"].get(lar, [])) is None:
        return None, goal, ""
    ratio = pairwise(cell["values"][lar], cell["values"][peer])
    if ratio is None:
        return None, goal, ""
    if goal is None:
        return ratio, None, ""
    ok = ratio >= goal if FIGURES[cell["figure"]][2] else ratio <= goal
    return ratio, goal, "reached" if ok else "missed"


def number(x):
    if x is None:
        return "–"
    return "%.0f" % x if x >= 100 else "%.1f" % x if x >= 10 else "%.3g" % x


def spread(values):
    v = [x for x in values if x is not None]
    if not v:
        return "–"
    return "%s (%s–%s)" % (number(median(v)), number(min(v)), number(max(v)))


def row(cells):
    return "| " + " | ".join(str(c) for c in cells) + " |"


def table(head, rows):
    return [row(head), row("---" for _ in head)] + [row(r) for r in rows]


def where(cell):
    return "" if cell["build"] == "native" else ", held to " + cell["build"].upper()


def summary(data):
    rows = []
    for c in data["cells"]:
        title, unit, more, _ = FIGURES[c["figure"]]
        ratio, goal, word = verdict(c, data["lar_name"], data["features"])
        peer = best_peer(c, data["lar_name"])
        rows.append([title + where(c), c["model"], c["threads"],
                     number(median(c["values"].get(data["lar_name"], []))),
                     "%s %s" % (number(median(c["values"][peer])), peer) if peer else "–", unit,
                     "**%.2f**" % ratio if ratio is not None else "–",
                     ("≥ " if more else "≤ ") + "%g" % goal if goal is not None else "", word])
    return table(["figure", "model", "threads", "LAR", "best peer", "unit", "ratio", "target", ""],
                 rows)


def details(data):
    out = []
    for figure in FIGURES:
        cells = [c for c in data["cells"] if c["figure"] == figure]
        if not cells:
            continue
        names = []
        for c in cells:
            names += [n for n in dict.fromkeys(list(c["values"]) + list(c["errors"]))
                      if n not in names]
        title, unit, _, _ = FIGURES[figure]
        out += ["", "### %s (%s)" % (title, unit), ""]
        rows = []
        for c in cells:
            r = [c["model"] + where(c), c["threads"]]
            for n in names:
                if n in c["errors"] and median(c["values"].get(n, [])) is None:
                    r.append("failed")
                else:
                    r.append(spread(c["values"].get(n, [])))
            rows.append(r)
        out += table(["model", "threads"] + names, rows)
    return out


def settings(data):
    rows, seen = [], set()
    for c in data["cells"]:
        for n, text in c["settings"].items():
            kind = ("generation" if "generate" in c["figure"] or c["figure"] == "columns" else
                    "start and memory" if c["figure"] in ("first", "rss") else "prompt")
            key = (n, c["model"], where(c), kind, text)
            if text and key not in seen:
                seen.add(key)
                rows.append([n, c["model"] + where(c), kind, text])
    return table(["peer", "model", "for", "setting"], rows) if rows else []


def counts(data):
    words = [verdict(c, data["lar_name"], data["features"])[2] for c in data["cells"]]
    return words.count("reached"), words.count("missed"), words.count("")


def page(data):
    reached, missed, other = counts(data)
    out = ["# Benchmarks", "",
           "Written by `bench/compare`; run it again on your machine. LAR and its peers took turns, a process per",
           "measurement, on the same files, threads, cache type (%s), context (%d) and batch (%d)." % (
               data["kv"].upper(), data["ctx"], data["batch"]),
           "A figure is the median of %d rounds (smallest–largest); a ratio is the median of the rounds' ratios, LAR"
           % data["rounds"],
           "against the best peer of that line, each peer at the best of the settings tried.", "",
           "## The machine", ""]
    out += table(["", ""], [[k, v] for k, v in data["machine"]])
    out += ["", "## What ran", ""]
    out += table(["engine", "version", "how it was built"],
                 [[e["name"], e["version"], e["note"]] for e in data["engines"]])
    for text in data["missing"]:
        out += ["", "Not here: " + text]
    out += ["", "## Against the targets", "",
            "%d reached, %d missed, %d without a target or a peer." % (reached, missed, other), ""]
    out += summary(data)
    out += ["", "## All medians"] + details(data)
    if data["notes"]:
        out += ["", "## Notes", ""] + ["* " + t for t in data["notes"]]
    errors = sorted({"%s, %s%s: %s" % (n, c["model"], where(c), t)
                     for c in data["cells"] for n, t in c["errors"].items()})
    if errors:
        out += ["", "## What failed", ""] + ["* " + t.replace("\n", " ") for t in errors]
    chosen = settings(data)
    if chosen:
        out += ["", "## The peers' settings", "",
                "The best of those tried: flash attention on and off, weights repacked while loading or not.", ""]
        out += chosen
    out += ["", "## Commands", "", "    " + data["command"], ""]
    out += ["One sample of each kind, paths shortened:", ""]
    out += ["    " + c.rstrip() for c in data["samples"]]
    return "\n".join(out) + "\n"


# ---- self-test -------------------------------------------------------------------------------------

def example():
    def cell(figure, model, values, build="native", errors=None):
        return {"figure": figure, "model": model, "threads": 2, "build": build, "values": values,
                "settings": {"P": "flash attention on"}, "errors": errors or {}}
    return {
        "lar_name": "LAR", "features": ["avx2", "avx512_vnni"], "kv": "f16", "ctx": 2048, "batch": 512,
        "rounds": 3, "machine": [["processor", "X"]], "missing": ["B: no network"], "notes": ["n"],
        "engines": [{"name": "LAR", "version": "1", "note": ""}], "command": "bench/compare",
        "samples": ["lar bench"],
        "cells": [
            cell("prompt", "a Q4_1", {"LAR": [400, 90, 420], "P": [100, 30, 100], "Q": [50, 50, None]}),
            cell("prompt", "a Q4_1", {"LAR": [140, 140, 140], "P": [100, 100, 100]}, "avx2"),
            cell("first", "a Q4_1", {"LAR": [0.2, 0.2, 0.9], "P": [1.0, 0.5, 0.6]}),
            cell("prompt", "a F16", {"LAR": [101, 100, 99], "P": [100, 100, 100]}),
            cell("generate", "a Q4_1", {"LAR": [10, 10, 10], "P": [None] * 3}, "native",
                 {"P": "signal 4"}),
        ]}


def selftest():
    """A list of what is wrong; empty when all is well."""
    bad = []

    def want(name, got, expected):
        if got != expected:
            bad.append("%s: got %r, want %r" % (name, got, expected))
    want("median, odd", median([3, 1, 2]), 2)
    want("median, even", median([4, 1, 2, 3]), 2.5)
    want("median, gaps", median([None, 5, None]), 5)
    want("median, nothing", median([None]), None)
    # Round by round 4, 3 and 4.2: one disturbed round moves both, and the ratio hardly.
    want("pairwise", pairwise([400, 90, 420], [100, 30, 100]), 4)
    want("pairwise, gaps", pairwise([4, None, 6], [2, 1, 0]), 2)
    d = example()
    words = [verdict(c, "LAR", d["features"]) for c in d["cells"]]
    want("the best peer", best_peer(d["cells"][0], "LAR"), "P")
    want("the best peer, less is better", best_peer(d["cells"][2], "LAR"), "P")
    want("prompt", words[0], (4, 2.0, "reached"))
    want("prompt with AMX", verdict(d["cells"][0], "LAR", ["amx_int8"])[1:], (3.0, "reached"))
    want("avx2", words[1], (1.4, 1.5, "missed"))
    want("first", words[2], (0.4, 0.4, "reached"))
    want("floats", words[3], (1.0, 1.0, "reached"))
    want("no peer", words[4], (None, 1.4, ""))
    want("counts", counts(d), (3, 1, 1))
    text = page(d)
    for piece in ("| Prompt of 512 tokens | a Q4_1 | 2 | 400 | 100 P | tokens/s | **4.00** | ≥ 2 | reached |",
                  "held to AVX2", "≤ 0.4 | reached", "| failed |", "signal 4", "Not here: B: no network",
                  "3 reached, 1 missed, 1 without"):
        if piece not in text:
            bad.append("the page lacks %r" % piece)
    want("number", [number(x) for x in (1234.5, 12.345, 0.12345, None)], ["1234", "12.3", "0.123", "–"])
    return bad
