"""store_test.py - the store from outside: `lar pull`, `list`, `verify`, `rm` against store_server.py.

    store_test.py LAR [NAME...]      runs the tests (or those named) and prints "N passed, N failed"

Kills, connections that drop, servers that lie: no damaged model is ever listed, and what was
verified is not fetched again (bytes are counted at the server). Needs Python's standard library.
"""
import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

here = os.path.dirname(os.path.abspath(__file__))
lar = os.path.abspath(sys.argv[1])
work = tempfile.mkdtemp(prefix="lar-store-")
www = os.path.join(work, "www")
os.mkdir(www)


def text(s):
    return struct.pack("<Q", len(s)) + s


def gguf(n, seed, extra=()):
    """A GGUF file with one F32 tensor of n random elements."""
    kv = [(b"general.architecture", 8, text(b"llama")),
          (b"general.file_type", 4, struct.pack("<I", 15))] + list(extra)
    h = b"GGUF" + struct.pack("<IQQ", 3, 1, len(kv))
    for k, t, v in kv:
        h += text(k) + struct.pack("<I", t) + v
    name = b"x.weight" if not extra else b"x%d.weight" % seed
    h += text(name) + struct.pack("<IQIQ", 1, n, 0, 0)
    return h + b"\0" * (-len(h) % 32) + random.Random(seed).randbytes(4 * n)


def split(i, of):
    return gguf(20000, i, [(b"split.no", 2, struct.pack("<H", i)),
                           (b"split.count", 2, struct.pack("<H", of)),
                           (b"split.tensors.count", 5, struct.pack("<i", of))])


def put(name, data):
    with open(os.path.join(www, name), "wb") as f:
        f.write(data)
    return hashlib.sha256(data).hexdigest()


SIZE = 4 * 400000
sha = put("m.gguf", gguf(400000, 1))
whole = os.path.getsize(os.path.join(www, "m.gguf"))
big_sha = put("big.gguf", gguf(1500000, 2))
big = os.path.getsize(os.path.join(www, "big.gguf"))
for quant in ("Q8_0", "Q4_K_M", "F16"):
    put("tiny-%s.gguf" % quant, gguf(1000, hash(quant) % 1000))
for part in range(3):
    put("parts-%05d-of-00003.gguf" % (part + 1), split(part, 3))
put("mflip.gguf", gguf(100000, 7))
put("page.gguf", b"<html>not found</html>" * 100)

server = subprocess.Popen([sys.executable, os.path.join(here, "store_server.py"), www],
                          stdout=subprocess.PIPE, text=True)
port = int(server.stdout.readline())
base = "http://127.0.0.1:%d" % port


def ask(path):
    with urllib.request.urlopen(base + path) as r:
        return r.read()


class Store:
    """A folder of models of its own."""
    made = 0

    def __init__(self, folder=None):
        Store.made += 1
        self.dir = folder or os.path.join(work, "models%d" % Store.made)
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith(("LAR", "HF_", "OLLAMA")) and not k.lower().endswith("_proxy")}
        self.env.update(LAR_MODELS=self.dir, HOME=work)
        ask("/clear")

    def start(self, *args, **more):
        return subprocess.Popen([lar, *args], env=dict(self.env, **more), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *args, **more):
        p = self.start(*args, **more)
        self.out, self.err = p.communicate(timeout=120)
        assert p.returncode >= 0, "killed: %s" % self.err
        return p.returncode

    def pull(self, url, *args, **more):
        code = self.run("pull", url, "--json", *args, **more)
        return json.loads(self.out) if code == 0 else None

    def names(self):
        """All that is listed, each checked to be whole."""
        assert self.run("list", "--json") == 0, self.err
        models = json.loads(self.out)["models"]
        for m in models:
            if m["files"] == 1:
                with open(m["file"], "rb") as f:
                    assert not m["sha256"] or hashlib.sha256(f.read()).hexdigest() == m["sha256"], m
        return [m["name"] for m in models]

    def fails(self, url, what, *args, **more):
        r = self.pull(url, "--retries", "2", *args, **more)
        assert r is None, "came: %s" % r
        assert what in self.err, self.err
        assert self.err.count("\n") <= 2, self.err
        assert self.names() == [], self.names()


def served(path=None):
    log = json.loads(ask("/log"))["served"]
    return sum(n for p, n in log.items() if not path or path in p)


# ---- tests: each a function whose name begins with test_ -------------------------------------------

def test_pull_and_again():
    s = Store()
    r = s.pull(base + "/ok/m.gguf")
    assert r["sha256"] == sha and r["bytes"] == whole and r["name"] == "m" and not r["already"]
    assert served() == whole, served()
    r = s.pull(base + "/ok/m.gguf")
    assert r["already"] and r["fetched"] == 0 and served() == whole
    assert s.names() == ["m"]
    assert s.run("list") == 0 and sha[:12] in s.out and "Q4_K_M" in s.out and "llama" in s.out
    assert s.run("show", "m") == 0 and "llama" in s.out
    assert s.run("verify") == 0 and "ok" in s.out
    assert s.pull(base + "/ok/m.gguf", "--name", "other")["name"] == "other"
    assert served() == whole and s.names() == ["m", "other"]
    assert s.run("rm", "m", "--json") == 0 and json.loads(s.out)["freed"] == 0
    assert s.run("rm", "other", "--json") == 0 and json.loads(s.out)["freed"] == whole
    assert s.names() == [] and s.run("rm", "m") == 1 and "no model" in s.err


def test_ranges():
    s = Store()
    r = s.pull(base + "/slow/m.gguf", "--sha256", sha)
    assert r["vouched"] or r["sha256"] == sha
    ranges = [x[2] for x in json.loads(ask("/log"))["seen"]]
    assert served() == whole and len(ranges) > 1, ranges


def test_known_hash():
    s = Store()
    s.fails(base + "/flip/m.gguf", "SHA-256 is", "--sha256", sha)
    s.fails(base + "/flip/m.gguf#sha256=" + sha, "SHA-256 is")
    s.fails(base + "/ok/m.gguf#md5=1", "want #sha256=")
    assert s.pull(base + "/ok/m.gguf#sha256=" + sha)["vouched"]


def test_servers_that_recover():
    for way in ("norange", "drop", "lierange", "once500", "once429", "notag", "stall"):
        s = Store()
        r = s.pull("%s/%s/m.gguf" % (base, way), "--stall", "1")
        assert r and r["sha256"] == sha, (way, s.err)
        assert s.names() == ["m"]
        if way in ("drop", "stall"):
            assert served() <= whole, (way, served())


def test_servers_that_do_not():
    s = Store()
    s.fails(base + "/lielong/m.gguf", "lielong/m.gguf: ")
    s.fails(base + "/lieshort/m.gguf", "no model")
    s.fails(base + "/e403/m.gguf", "403")
    s.fails(base + "/e416/m.gguf", "416")
    s.fails(base + "/ok/none.gguf", "404")
    s.fails(base + "/loop/m.gguf", "redirects")
    s.fails(base + "/nolength/m.gguf", "how long")
    s.fails(base + "/ok/page.gguf", "no model")
    s.fails("http://127.0.0.1:1/m.gguf", "onnect")
    s.fails("nonsense", "no source")
    s.fails("https:/x", "two slashes")
    s.fails("hf:owner", "want hf:OWNER/REPO")


def test_file_changes():
    s = Store()
    with open(os.path.join(www, "m.gguf"), "rb") as f:
        later = f.read()[:-4000] + bytes(4000)
    r = s.pull(base + "/change/m.gguf", "--retries", "3")
    assert r and r["sha256"] == hashlib.sha256(later).hexdigest(), s.err
    assert s.names() == ["m"]
    s = Store()
    s.fails(base + "/change/m.gguf", "has changed while it came", "--sha256", sha)


def test_interrupted_and_changed():
    s = Store()
    p = s.start("pull", base + "/slow/big.gguf")
    while served() < big // 4:
        time.sleep(0.01)
    p.kill()
    p.communicate()
    other = put("big.gguf", gguf(1500000, 3))
    try:
        assert s.pull(base + "/slow/big.gguf")["sha256"] == other
    finally:
        put("big.gguf", gguf(1500000, 2))


def test_interrupt_is_resumable():
    s = Store()
    p = s.start("pull", base + "/slow/big.gguf")
    while served() < big // 4:
        time.sleep(0.01)
    p.send_signal(signal.SIGINT)
    p.communicate()
    assert p.returncode == 130
    assert s.names() == []
    before = served()
    r = s.pull(base + "/slow/big.gguf")
    assert r["sha256"] == big_sha and r["fetched"] < big - before / 2
    assert not os.listdir(os.path.join(s.dir, ".store/partial"))


def verified(s):
    """Bytes that the journals of partial files record."""
    n, folder = 0, os.path.join(s.dir, ".store/partial")
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        if name.endswith(".journal"):
            with open(os.path.join(folder, name)) as f:
                lines = f.read().split("\n")
            n += 65536 * max(0, len([x for x in lines[1:-1] if len(x) > 64]) - 1)
    return n


def test_kills():
    """SIGKILL at 50 moments, over several pulls."""
    rng = random.Random(20)
    s, kills, pulls = Store(), 0, 0
    url = base + "/slow/big.gguf"
    while kills < 50:
        ask("/clear")
        p = s.start("pull", url, "--retries", "20")
        had = verified(s)
        try:
            p.communicate(timeout=rng.uniform(0.01, 1.2))
            pulls += 1
            assert s.names() == ["big"]
            assert served() <= big - had, (served(), big, had)
            assert s.run("rm", "big") == 0
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            kills += 1
            assert s.names() in ([], ["big"])
            if s.names():
                assert s.run("rm", "big") == 0
    r = s.pull(url)
    assert r["sha256"] == big_sha and s.names() == ["big"]
    assert s.run("verify") == 0


def test_two_processes():
    s = Store()
    url = base + "/slow/big.gguf"
    both = [s.start("pull", url, "--json") for _ in range(2)]
    for p in both:
        out, err = p.communicate(timeout=120)
        assert p.returncode == 0, err
        assert json.loads(out)["sha256"] == big_sha
    # Once is wanted; the second may begin anew between the end of the first's fetch and its name.
    assert served() <= 2 * big + 4096, (served(), big)
    assert s.names() == ["big"]
    assert s.run("verify") == 0


def test_no_token_elsewhere():
    s = Store()
    r = s.pull("hf:gated/m", HF_ENDPOINT=base + "/hf", HF_TOKEN="secret")
    assert r and r["sha256"] == sha and r["vouched"], s.err
    seen = json.loads(ask("/log"))["seen"]
    hub = [x for x in seen if x[0] == "hub"]
    rest = [x for x in seen if x[0] != "hub"]
    assert all(x[5] == "Bearer secret" for x in hub) and rest
    assert all(x[5] is None and x[4].startswith("localhost") for x in rest), rest


def test_hub():
    s = Store()
    env = {"HF_ENDPOINT": base + "/hf"}
    s.fails("hf:gated/m", "accept its terms", **env)
    s.fails("hf:none/m", "no such repository", **env)
    s.fails("hf:a/tiny:Q2_K", "there are: tiny-F16.gguf, tiny-Q4_K_M.gguf, tiny-Q8_0.gguf", **env)
    assert s.pull("hf:a/tiny", **env)["name"] == "tiny-Q4_K_M"
    assert s.pull("hf:a/tiny:q8_0", **env)["name"] == "tiny-Q8_0"
    assert s.pull("hf:a/tiny:tiny-F16.gguf", "--endpoint", base + "/hf")["name"] == "tiny-F16"
    r = s.pull("hf:a/parts", **env)
    assert r["name"] == "parts", s.err
    assert s.run("list", "--json") == 0
    m = next(m for m in json.loads(s.out)["models"] if m["name"] == "parts")
    assert m["files"] == 3 and m["sha256"] == r["sha256"]
    assert s.run("show", "parts") == 0 and "in several files" in s.out
    assert s.run("verify", "parts") == 0
    assert s.run("rm", "parts") == 0
    assert len(s.names()) == 3


def test_split_by_address():
    s = Store()
    r = s.pull(base + "/ok/parts-00001-of-00003.gguf")
    assert r and r["name"] == "parts", s.err


def test_registry():
    s = Store()
    env = {"OLLAMA_REGISTRY": base + "/ollama"}
    r = s.pull("ollama:m:1b", **env)
    assert r["sha256"] == sha and r["name"] == "m-1b" and r["vouched"], s.err
    s2 = Store()
    r = s2.pull("ollama:mflip", **env)
    assert r and r["name"] == "mflip", s2.err
    size = os.path.getsize(os.path.join(www, "mflip.gguf"))
    assert served("blobs") <= size + 100000, (served("blobs"), size)  # the damaged chunk again
    s3 = Store()
    s3.fails("ollama:nothing", "no such model", **env)


def test_user_file():
    s = Store()
    path = os.path.join(work, "mine.gguf")
    shutil.copy(os.path.join(www, "m.gguf"), path)
    os.utime(path, (1, 1))
    r = s.pull(path)
    assert r["sha256"] == sha and os.path.realpath(r["file"]) == os.path.realpath(path)
    assert s.names() == ["mine"] and s.run("verify") == 0
    with open(path, "r+b") as f:
        f.seek(5000)
        f.write(b"changed")
    assert s.run("verify", "--json") == 1 and "has changed" in s.out
    assert s.run("rm", "mine") == 0 and os.path.exists(path)
    by_hand = os.path.join(s.dir, "hand.gguf")
    shutil.copy(os.path.join(www, "m.gguf"), by_hand)
    assert s.names() == ["hand"] and s.run("rm", "hand") == 1 and os.path.exists(by_hand)


def test_damage_is_found():
    s = Store()
    r = s.pull(base + "/ok/m.gguf")
    os.chmod(os.path.realpath(r["file"]), 0o644)
    with open(r["file"], "r+b") as f:
        f.seek(9000)
        f.write(b"damage")
    assert s.run("verify") == 1 and "BAD" in s.out
    assert s.names() == []
    assert s.pull(base + "/ok/m.gguf")["sha256"] == sha and s.run("verify") == 0


def test_index_is_rebuilt():
    s = Store()
    s.pull(base + "/ok/m.gguf")
    for how in ("remove", "damage"):
        for name in os.listdir(os.path.join(s.dir, ".store")):
            if name.startswith("index.db"):
                path = os.path.join(s.dir, ".store", name)
                if how == "remove":
                    os.remove(path)
                else:
                    with open(path, "wb") as f:
                        f.write(b"this is no database" * 100)
        assert s.names() == ["m"]
        r = s.pull(base + "/ok/m.gguf")
        assert r["already"] and served() == whole, how


def test_names_clash():
    s = Store()
    s.pull(base + "/ok/m.gguf", "--name", "x")
    assert s.pull(base + "/ok/tiny-F16.gguf", "--name", "x") is None and "another model" in s.err
    for name in ("../x", ".x", "a/b", ""):
        assert s.pull(base + "/ok/tiny-F16.gguf", "--name", name) is None or name == ""


def test_small_disk():
    folder = os.path.join(work, "small")
    os.mkdir(folder)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder],
                      stderr=subprocess.DEVNULL).returncode:
        return "a file system of 1 MiB cannot be mounted here"
    try:
        s = Store(folder)
        s.fails(base + "/ok/m.gguf", "MB free")
        assert served() < whole
    finally:
        subprocess.run(["umount", "-l", folder])
    return None


def main():
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    if sys.argv[2:]:
        tests = [(n, f) for n, f in tests if n in sys.argv[2:]]
    passed = failed = skipped = 0
    for name, f in tests:
        start = time.time()
        try:
            why = f()
            passed += not why
            skipped += bool(why)
            if why:
                print("skip %s: %s" % (name, why))
        except Exception:
            failed += 1
            print("FAIL %s\n%s" % (name, traceback.format_exc()[-1500:]))
        if os.environ.get("TIMES"):
            print("%-32s %.1f s" % (name, time.time() - start))
    print("%d passed, %d failed%s" % (passed, failed, ", %d skipped" % skipped if skipped else ""))
    return failed > 0


try:
    code = main()
finally:
    server.kill()
    shutil.rmtree(work, ignore_errors=True)
sys.exit(code)
