"""sample - run one command once and tell, from outside, what it took. Needs Python and nothing else.

    python sample.py [--busy N] -- CMD...

Prints one line of JSON: rc, seconds (start to end of the process), first_byte (start to the first
byte of standard output that is no white space, or null), rss (peak resident bytes of the process, as
the system counts it), out and err (their ends), foreign (the share of the machine's processor time
that other processes took meanwhile, or null where the system does not tell). --busy N keeps N
processes spinning beside it; they are not foreign.
"""
import json
import os
import resource
import subprocess
import sys
import threading
import time


def machine_ticks():
    """Processor time that all processes have used so far, in seconds, or None."""
    try:
        with open("/proc/stat") as f:
            v = [int(x) for x in f.readline().split()[1:]]
        return sum(v[:3] + v[5:8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def own_seconds():
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        u = resource.getrusage(who)
        total += u.ru_utime + u.ru_stime
    return total


def spin():
    return subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])


def read_all(pipe, into, began, stamp):
    while True:
        data = os.read(pipe.fileno(), 65536)
        if not data:
            return
        if stamp is not None and "t" not in stamp and data.strip():
            stamp["t"] = time.perf_counter() - began
        into.append(data)


def sample(command, busy=0):
    spinners = [spin() for _ in range(busy)]
    if spinners:
        time.sleep(0.3)
    before, own = machine_ticks(), own_seconds()
    began = time.perf_counter()
    try:
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
    except OSError as e:
        for s in spinners:
            s.kill()
        return {"rc": 127, "err": str(e), "out": ""}
    out, err, stamp = [], [], {}
    readers = [threading.Thread(target=read_all, args=(p.stdout, out, began, stamp)),
               threading.Thread(target=read_all, args=(p.stderr, err, began, None))]
    for r in readers:
        r.start()
    _, status, usage = os.wait4(p.pid, 0)
    seconds = time.perf_counter() - began
    p.returncode = os.waitstatus_to_exitcode(status)
    for r in readers:
        r.join()
    for s in spinners:
        s.kill()
        s.wait()
    after = machine_ticks()
    foreign = None
    if before is not None and after is not None:
        # Both count in ticks of 10 ms, so a short command says little; never less than nothing.
        mine = own_seconds() - own # wait4 has added the child's
        foreign = max(0.0, (after - before - mine) / max(seconds, 0.05) / (os.cpu_count() or 1))
    return {"rc": p.returncode, "seconds": seconds, "first_byte": stamp.get("t"),
            "rss": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), "foreign": foreign,
            "out": b"".join(out).decode("utf-8", "replace"),
            "err": b"".join(err).decode("utf-8", "replace")[-2000:]}


def main():
    args = sys.argv[1:]
    busy = 0
    if args[:1] == ["--busy"]:
        busy = int(args[1])
        args = args[2:]
    if args[:1] == ["--"]:
        args = args[1:]
    print(json.dumps(sample(args, busy)), flush=True)


if __name__ == "__main__":
    main()
