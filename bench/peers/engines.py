"""engines - LAR and its peers behind one face: a command for a job, and figures from what it prints.

Every measurement is a process of its own. An engine has name, version, settings(): the settings to
choose from, and speed(), first(): the command. parse() gives {figure: [rates]}.
"""
import json
import os
import subprocess
import sys

import install

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLE = os.path.join(HERE, "sample.py")


class Failed(Exception):
    pass


class Runner:
    """Runs one command through `sample`, behind a prefix; repeats it when others took the machine."""

    def __init__(self, wrap, limit, retries, timeout):
        self.wrap, self.limit, self.retries, self.timeout = wrap, limit, retries, timeout
        self.log = []

    def once(self, command, busy=0, env=None, cwd=None):
        full = self.wrap + [sys.executable, SAMPLE]
        if busy:
            full += ["--busy", str(busy)]
        try:
            p = subprocess.run(full + ["--"] + command, capture_output=True, text=True, cwd=cwd,
                               stdin=subprocess.DEVNULL, timeout=self.timeout,
                               env=dict(os.environ, **(env or {})))
        except subprocess.TimeoutExpired:
            raise Failed("nothing after %d s" % self.timeout) from None
        try:
            return json.loads(p.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise Failed("no sample: %s" % (p.stderr.strip()[-300:] or p.returncode)) from None

    def run(self, command, **more):
        best = None
        for _ in range(1 + self.retries):
            s = self.once(command, **more)
            self.log.append({"command": command, "sample": s})
            if s["rc"] != 0:
                reason = "signal %d" % -s["rc"] if s["rc"] < 0 else "status %d" % s["rc"]
                raise Failed("%s: %s" % (reason, tail(s)))
            if best is None or (s.get("foreign") or 0) < (best.get("foreign") or 0):
                best = s
            if (best.get("foreign") or 0) <= self.limit:
                break
        return best


def tail(sample):
    lines = [x for x in (sample.get("out", "") + "\n" + sample.get("err", "")).splitlines()
             if x.strip()]
    return " ".join(lines[-2:])[-300:] if lines else "no output"


def last_json(sample):
    for line in reversed(sample["out"].splitlines()):
        if line.startswith("{"):
            data = json.loads(line)
            if "error" in data:
                raise Failed(data["error"])
            return data
    raise Failed("no figures: " + tail(sample))


class Lar:
    kind = "lar"

    def __init__(self, program, build="native", cpu=None):
        self.program, self.build, self.cpu = program, build, cpu
        self.name = "LAR" if not cpu else "LAR --cpu " + cpu
        p = subprocess.run([program, "doctor", "--json"], capture_output=True, text=True,
                           stdin=subprocess.DEVNULL)
        self.doctor = json.loads(p.stdout)
        self.version = self.doctor["version"]
        # What this build offers.
        self.bench_help = self.help("bench")
        self.run_help = self.help("run")

    def help(self, verb):
        return subprocess.run([self.program, "help", verb], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL).stdout

    def settings(self, _quick):
        return [{}]

    def common(self, job, text=None):
        flags = ["-m", job["model"], "-t", str(job["threads"]), "-b", str(job["batch"]), "--kv",
                 job["kv"]]
        if "--ctx" in (text or self.run_help):
            flags += ["-c", str(job["ctx"])]
        return flags + (["--cpu", self.cpu] if self.cpu else [])

    def speed(self, job):
        """The commands that together measure a job."""
        out = []
        base = [self.program, "bench", "--json"] + self.common(job, self.bench_help)
        base += ["-r", str(job["reps"])]
        if "--seconds" in self.bench_help:
            base += ["--seconds", str(job.get("seconds", 0))]
        if "limits" in self.bench_help and not job.get("limits"):
            base += ["--no-limits"]
        if job.get("prompts"):
            out.append(base + ["-p", ",".join(map(str, job["prompts"])), "-n", ""])
        if job.get("generate"):
            out.append(base + ["-p", "", "-n", str(job["generate"]), "-d", str(job["depth"])])
        if job.get("columns") and "--parallel" in self.bench_help:
            out.append(base + ["-p", "", "-n", "16", "-d", "16", "--parallel",
                               str(job["columns"])])
        return out

    def parse(self, sample, job):
        out = {}
        data = last_json(sample)
        for row in data["rows"]:
            rate = [row["per_second"]]
            if row["test"] == "prompt":
                out["prompt %d" % row["tokens"]] = rate
            elif row.get("parallel", 1) == 1:
                out["generate"] = rate
                out["gb"] = [row["gb_per_second"]] if row.get("gb_per_second") else []
            else:
                out["columns"] = rate
        limits = data.get("machine")
        if isinstance(limits, list) and limits:
            out["reader"] = [limits[0].get("bandwidth_gb_s")]
        out["rss"] = sample["rss"]
        return out

    def first(self, job):
        # No prompt that an earlier process has stored.
        flags = [f for f in ("--no-prefix-cache", "--no-disk-cache", "--no-prompt-cache")
                 if f in self.run_help or f.replace("--no-", "--") in self.run_help][:1]
        return [self.program, "run", "-p", job["text"], "-n", "1", "--temp", "0", "-q"] + flags + \
            self.common(job)


class Llama:
    kind = "llama"

    def __init__(self, cache, build, label=None):
        self.python = install.llama_python(cache, build)
        self.build = build
        self.name = label or "llama-cpp-python"
        self.version = install.llama_ready(cache, build)
        if not self.version:
            raise install.Unavailable("llama-cpp-python (%s) is not installed" % build)

    def settings(self, quick):
        out = [{"flash": True, "repack": True}, {"flash": True, "repack": False}]
        return out if quick else out + [{"flash": False, "repack": True},
                                        {"flash": False, "repack": False}]

    @staticmethod
    def describe(s):
        return "flash attention %s, repacking %s" % tuple(
            "on" if s[k] else "off" for k in ("flash", "repack"))

    def command(self, do, job, settings):
        full = {"do": do, "ubatch": job["batch"], "flash": True, "repack": True}
        full.update({k: job[k] for k in ("model", "threads", "ctx", "batch", "kv") if k in job})
        full.update(settings)
        for k in ("prompts", "generate", "depth", "columns", "reps", "seconds", "output", "type"):
            if job.get(k):
                full[k] = job[k]
        if do == "first":
            full["text"] = job["rendered"]
            full["bos"] = job.get("bos", False)
        return [self.python, os.path.join(HERE, "llama_driver.py"), json.dumps(full)]

    def speed(self, job, settings):
        return [self.command("speed", job, settings)]

    def first(self, job, settings):
        return self.command("first", job, settings)

    def parse(self, sample, _job):
        out = {k: v for k, v in last_json(sample).items() if isinstance(v, list)}
        out["rss"] = sample["rss"]
        return out


class Addon:
    kind = "addon"

    def __init__(self, cache, build):
        self.name = "QVAC addon"
        self.build = build
        self.home = os.path.join(cache, "npm")
        self.version = install.addon_ready(cache)
        self.bare = install.bare_program(cache)
        if not self.version:
            raise install.Unavailable("%s is not installed" % install.ADDON)
        self.backends = install.addon_backends(cache, build)
        # The script must lie where the packages are found.
        self.script = os.path.join(self.home, "qvac_driver.js")
        with open(os.path.join(HERE, "qvac_driver.js")) as f:
            text = f.read()
        with open(self.script, "w") as f:
            f.write(text)
        self.counts = {}

    def settings(self, quick):
        out = [{}, {"no-repack": ""}]
        return out if quick else out + [{"flash-attn": "off"},
                                        {"flash-attn": "off", "no-repack": ""}]

    @staticmethod
    def describe(s):
        return "flash attention %s, repacking %s" % (s.get("flash-attn", "on"),
                                                     "off" if "no-repack" in s else "on")

    def command(self, do, job, settings):
        config = {"threads": str(job["threads"]), "ctx_size": str(job["ctx"]),
                  "batch-size": str(job["batch"]), "ubatch-size": str(job["batch"]),
                  "cache-type-k": job["kv"], "cache-type-v": job["kv"]}
        config.update(settings)
        full = {"do": do, "model": job["model"], "config": config, "backends": self.backends}
        for k in ("texts", "words", "generate", "columns", "reps"):
            if job.get(k):
                full[k] = job[k]
        return [self.bare, self.script, json.dumps(full)]

    def text_of(self, runner, job, tokens):
        """Words whose prompt, with the model's template around it, has that many tokens."""
        model = job["model"]
        if model not in self.counts:
            few, more = words(20), words(40)
            s = runner.run(self.command("count", dict(job, words=[few, more]), {}))
            a, b = last_json(s)["tokens"]
            slope = max(1, round((b - a) / 20))
            self.counts[model] = (a - 20 * slope, slope)
        base, slope = self.counts[model]
        return words(max(1, (tokens - base) // slope))

    def speed(self, job, settings, runner):
        full = dict(job)
        # A prompt shorter than the template around it cannot be asked for.
        full["texts"] = {"prompt %d" % n: self.text_of(runner, job, n)
                         for n in job.get("prompts", []) if n >= 64}
        if job.get("generate"):
            full["words"] = self.text_of(runner, job, job["depth"])
        if not (full["texts"] or job.get("generate") or job.get("columns")):
            return []
        return [self.command("speed", full, settings)]

    def first(self, job, settings):
        return self.command("first", dict(job, words=job["text"]), settings)

    def parse(self, sample, _job):
        out = {k: v for k, v in last_json(sample).items() if isinstance(v, list)}
        out["rss"] = sample["rss"]
        return out


def words(n):
    return "hello" + " hello" * (n - 1)
