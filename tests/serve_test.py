#!/usr/bin/env python3
"""serve_test.py LAR - lar serve through its front door: routes, streams, errors, limits, cancelling.

Python's standard library, and tests/data/tiny.gguf. Ends with "N passed, N failed".
"""
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

MODEL = "tests/data/tiny.gguf"
passed = failed = 0


def check(what, ok, detail=""):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print("FAILED: %s %s" % (what, str(detail)[:400]))


class Server:
    def __init__(self, lar, *flags, env=None):
        self.p = subprocess.Popen([lar, "serve", "-m", "tiny=" + MODEL, "--port", "0", *flags],
                                  stderr=subprocess.PIPE, text=True,
                                  env=dict(os.environ, LAR_MODELS="tests/data/tok", **(env or {})))
        self.port, self.log = 0, []
        for line in self.p.stderr:
            self.log.append(line)
            if line.startswith("listening at"):
                self.port = int(line.rsplit(":", 1)[1])
                break
        threading.Thread(target=lambda: self.log.extend(self.p.stderr), daemon=True).start()

    def request(self, method, path, body=None, headers=None, timeout=60):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode("utf-8", "surrogatepass")
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, dict(r.getheaders()), data

    def post(self, path, body, **kw):
        status, _, data = self.request("POST", path, body, **kw)
        return status, json.loads(data)

    def raw(self, data, timeout=10):
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            s.sendall(data)
            out = b""
            try:
                while True:
                    got = s.recv(65536)
                    if not got:
                        break
                    out += got
            except (socket.timeout, ConnectionError):
                pass
        return out

    def stream(self, path, body):
        status, headers, data = self.request("POST", path, dict(body, stream=True))
        lines = [x for x in data.decode().split("\n\n") if x]
        good = status == 200 and all(x.startswith("data: ") for x in lines)
        return good, [x[6:] for x in lines]

    def end(self):
        self.p.send_signal(signal.SIGTERM)
        try:
            return self.p.wait(20)
        except subprocess.TimeoutExpired:
            self.p.kill()
            return None


def chat(**kw):
    return dict({"model": "tiny", "messages": [{"role": "user", "content": "The quick brown"}],
                 "max_tokens": 8, "temperature": 0}, **kw)


def text(**kw):
    return dict({"model": "tiny", "prompt": "The quick brown", "max_tokens": 8, "temperature": 0}, **kw)


def routes(s):
    check("health", s.request("GET", "/health")[0] == 200)
    status, _, data = s.request("GET", "/v1/models")
    check("models", status == 200 and json.loads(data)["data"][0]["id"] == "tiny", data)
    check("a model", s.request("GET", "/v1/models/tiny")[0] == 200)
    check("no such model", s.request("GET", "/v1/models/none")[0] == 404)
    check("nothing there", s.request("GET", "/nothing")[0] == 404)
    check("another method", s.request("GET", "/v1/completions")[0] == 405)
    status, _, data = s.request("GET", "/metrics")
    check("metrics", status == 200 and b"lar_requests_total" in data, data)
    status, _, data = s.request("GET", "/openapi.json")
    doc = json.loads(data)
    check("openapi", "temp" in doc["paths"]["/v1/completions"]["post"]["requestBody"]["content"]
          ["application/json"]["schema"]["properties"], data)
    status, r = s.post("/tokenize", {"model": "tiny", "content": "The quick", "add_special": False})
    check("tokenize", status == 200 and r["tokens"], r)
    status, back = s.post("/detokenize", {"tokens": r["tokens"]})
    check("detokenize", status == 200 and back["content"] == "The quick", back)
    check("a token out of range", s.post("/detokenize", {"tokens": [1 << 30]})[0] == 400)


def page(s):
    for path, kind in (("/", "text/html"), ("/style.css", "text/css"), ("/app.js", "text/javascript"),
                       ("/api.js", "text/javascript"), ("/markdown.js", "text/javascript"),
                       ("/store.js", "text/javascript")):
        status, headers, data = s.request("GET", path)
        with open("src/serve/web/" + (path[1:] or "index.html"), "rb") as f:
            check("page %s" % path, status == 200 and data == f.read(), status)
        check("its type", headers.get("Content-Type", "").startswith(kind), headers)
        policy = headers.get("Content-Security-Policy", "")
        check("its policy", "default-src 'none'" in policy and "unsafe" not in policy, headers)
        status, _, data = s.request("GET", path, headers={"If-None-Match": headers.get("ETag", "")})
        check("not sent twice", status == 304 and not data, status)


def completions(s):
    status, whole = s.post("/v1/completions", text(logprobs=2, echo=True))
    check("completion", status == 200, whole)
    lp, usage = whole["choices"][0]["logprobs"], whole["usage"]
    check("echo", whole["choices"][0]["text"].startswith("The quick brown"), whole)
    check("log-probabilities", len(lp["tokens"]) == usage["total_tokens"] == len(lp["token_logprobs"]) and
          lp["token_logprobs"][0] is None and all(x <= 0 for x in lp["token_logprobs"][1:]), lp)
    after = usage["prompt_tokens"]
    check("greedy is the likeliest", all(max(t.values()) == p for t, p in zip(
        lp["top_logprobs"][after:], lp["token_logprobs"][after:])), lp)
    status, plain = s.post("/v1/completions", text())
    check("the same without", "The quick brown" + plain["choices"][0]["text"] ==
          whole["choices"][0]["text"], plain)
    # What the model thought of its own answer, when that is the prompt.
    ids = s.post("/tokenize", {"content": "The quick brown"})[1]["tokens"]
    status, by_ids = s.post("/v1/completions", text(prompt=ids))
    check("prompt as ids", by_ids.get("choices", [{}])[0].get("text") == plain["choices"][0]["text"], by_ids)
    status, many = s.post("/v1/completions", text(prompt=["a", "b", ids]))
    check("several prompts", [c["index"] for c in many["choices"]] == [0, 1, 2] and
          many["choices"][2]["text"] == plain["choices"][0]["text"], many)
    good, events = s.stream("/v1/completions", text(stream_options={"include_usage": True}))
    check("streamed completion", good and events[-1] == "[DONE]", events)
    pieces = [json.loads(x) for x in events[:-1]]
    check("streamed text is the same", "".join(c["text"] for p in pieces for c in p["choices"]) ==
          plain["choices"][0]["text"], pieces)
    check("usage at the end", pieces[-1]["usage"]["completion_tokens"] == 8 and not pieces[-1]["choices"])
    status, two = s.post("/v1/completions", text(n=2, temperature=1, seed=3))
    check("n", len(two["choices"]) == 2, two)
    status, again = s.post("/v1/completions", text(n=2, temperature=1, seed=3))
    check("seed", [c["text"] for c in two["choices"]] == [c["text"] for c in again["choices"]], again)
    first = plain["choices"][0]["text"]
    status, cut = s.post("/v1/completions", text(stop=first[2:4]))
    check("stop", cut["choices"][0]["text"] == first[:first.index(first[2:4])] and
          cut["choices"][0]["finish_reason"] == "stop", cut)
    status, none = s.post("/v1/completions", text(max_tokens=0, echo=True, logprobs=1))
    check("nothing but the prompt", none["choices"][0]["text"] == "The quick brown", none)


def chats(s):
    status, r = s.post("/v1/chat/completions", chat(logprobs=True, top_logprobs=2))
    if status != 200:
        check("chat", "template" in r["error"]["message"], r)
        return
    content = r["choices"][0]["logprobs"]["content"]
    check("chat", r["choices"][0]["message"]["role"] == "assistant" and len(content) ==
          r["usage"]["completion_tokens"] and len(content[0]["top_logprobs"]) == 2, r)
    good, events = s.stream("/v1/chat/completions", chat())
    said = "".join(json.loads(x)["choices"][0]["delta"].get("content") or "" for x in events[:-1])
    check("streamed chat", good and said == r["choices"][0]["message"]["content"], events)
    parts = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "The quick brown"}]}])
    check("parts", s.post("/v1/chat/completions", parts)[1]["choices"][0]["message"] ==
          r["choices"][0]["message"])
    status, r = s.post("/apply-template", {"messages": chat()["messages"]})
    check("apply-template", status == 200 and "The quick brown" in r["prompt"], r)


def bad_requests(s):
    bad = []
    for value in ["x", [], {}, True]:
        bad += [{k: value} for k in ("temperature", "top_p", "max_tokens", "seed", "n", "logprobs",
                                     "frequency_penalty", "presence_penalty", "top_k", "min_p")]
    for value in [1, "yes", [], {}]:
        bad += [{"stream": value}, {"echo": value}]
    bad += [{"n": v} for v in (0, -1, 17, 1e9, 1.5)]
    bad += [{"max_tokens": v} for v in (-1, -2, 1e30, 0.5)]
    bad += [{"temperature": v} for v in (-1, 1e9, -1e308)]
    bad += [{"top_p": v} for v in (-0.1, 1.1)] + [{"logprobs": v} for v in (-1, 21, 1e12)]
    bad += [{"prompt": v} for v in (None, 1, {}, True, [None], [{}], [[1 << 40]], [[-1]], [1.5], ["a"] * 65,
                                    [[1, "a"]], [True], [])]
    bad += [{"stop": v} for v in (1, {}, [1], ["a"] * 17, [None])]
    bad += [{"logit_bias": v} for v in ("x", [1], {"x": 1}, {"999999999": 1}, {"1": "a"}, {"-1": 1})]
    bad += [{"model": v} for v in (1, [], {}, "none", "../tiny", "", "a\u0000b")]
    bad += [{"stream_options": v} for v in (1, "x", {"include_usage": 1})]
    bad += [{"prompt": "word " * 5000}, {"seed": 1e300}]
    for change in bad:
        status, r = s.post("/v1/completions", text(**change))
        check("bad %s" % json.dumps(change)[:60], status in (400, 404) and r["error"]["message"], (status, r))
    worse = [{"messages": v} for v in (None, [], "x", {}, [1], [{}], [{"role": 1, "content": ""}],
                                       [{"role": "user", "content": 1}],
                                       [{"role": "user", "content": [{"type": "image_url"}]}],
                                       [{"role": "user", "content": "", "tool_calls": 1}])]
    worse += [{"tools": v} for v in (1, "x", [1], [{}], [{"function": {}}])]
    worse += [{"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": 3},
              {"response_format": 1}, {"response_format": {"type": "x"}}, {"top_logprobs": 21},
              {"response_format": {"type": "json_schema"}}, {"logprobs": 1}]
    for change in worse:
        status, r = s.post("/v1/chat/completions", chat(**change))
        check("bad %s" % json.dumps(change)[:60], status == 400 and r["error"]["message"], (status, r))
    texts = ["", "x", "[]", "1", '"a"', "null", "{", '{"prompt":', '{"prompt":"a"}}', "{}x", "[" * 100000,
             '{"a":' * 100000, '{"prompt":"a","prompt":"b"}', '{"prompt":"\\ud800"}', '{"prompt":"\\udc00x"}',
             '{"prompt":"a\x01"}', '{"prompt":"a","max_tokens":99999999999999999999999}', "\ufeff{}",
             '{"prompt":"a","temperature":NaN}', '{"prompt":"a","temperature":1e999}', "{'prompt':1}",
             '{"prompt":"a\\u0000b"}', '\ud800']
    for body in texts:
        status, r = s.post("/v1/completions", body)
        check("body %r" % body[:40], status == 400 and r["error"]["message"], (status, r))
    status, r = s.post("/v1/completions", b'{"prompt":"\xff\xfe"}')
    check("not UTF-8", status == 400, r)
    raw = [b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
           b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n\r\n",
           b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
           b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
           b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           b"GET /health HTTP/1.1\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n",
           b"GET /health HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n",
           b"GET /health HTTP/1.1\r\nHost: localhost:1x\r\n\r\n",
           b"GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
           b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
           b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70000 + b"\r\n\r\n",
           b"\x00\x01\x02\r\n\r\n"]
    for r in raw:
        got = s.raw(r, 3)
        check("raw %r" % r[:70], not got or got.split(b" ")[1:2][0][:1] == b"4", got[:100])
    check("it lives on", s.request("GET", "/health")[0] == 200)


def together(s):
    """16 clients at once get what each gets alone."""
    def ask(i):
        return s.post("/v1/completions", text(prompt="Number %d says" % i, max_tokens=24, seed=i,
                                              temperature=0.8 if i % 2 else 0))[1]["choices"][0]["text"]
    alone, got = [ask(i) for i in range(16)], [None] * 16

    def one(i):
        got[i] = ask(i)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check("16 clients, the same answers", got == alone, (got, alone))


def metric(s, name):
    for line in s.request("GET", "/metrics")[2].decode().split("\n"):
        if line.startswith("lar_%s " % name):
            return float(line.split()[1])


def wait_for(fn, seconds=10):
    end = time.time() + seconds
    while time.time() < end:
        if fn():
            return True
        time.sleep(0.02)
    return False


def leave(s, stream):
    """A request that would take for ever, whose client goes away."""
    body = json.dumps(text(max_tokens=100000, ctx_shift=True, ignore_eos=True, stream=stream)).encode()
    c = socket.create_connection(("127.0.0.1", s.port))
    c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    if stream:
        c.recv(100)
    return c


def cancelling(s):
    for stream in (False, True):
        c = leave(s, stream)
        check("it runs", wait_for(lambda: metric(s, "requests_running") == 1))
        c.close()
        t0 = time.time()
        check("ends when its client leaves", wait_for(lambda: metric(s, "requests_running") == 0, 5))
        check("and soon", time.time() - t0 < 1, time.time() - t0)


def full(lar):
    s = Server(lar, "--parallel", "1", "--queue", "1")
    cs = [leave(s, True)]
    wait_for(lambda: metric(s, "requests_running") == 1)
    cs.append(leave(s, False))
    wait_for(lambda: metric(s, "requests_queued") == 1)
    t0 = time.time()
    status, headers, data = s.request("POST", "/v1/completions", text())
    check("full: 429", status == 429 and "Retry-After" in headers and json.loads(data)["error"], (status, data))
    check("at once", time.time() - t0 < 0.5, time.time() - t0)
    for c in cs:
        c.close()
    check("then there is room", wait_for(lambda: s.request("POST", "/v1/completions", text())[0] == 200))
    check("it ends well", s.end() == 0)


def keys(lar):
    s = Server(lar, "--cors", "http://page.example", env={"LAR_API_KEY": "secret"})
    check("no key", s.request("GET", "/v1/models")[0] == 401)
    check("wrong key", s.request("GET", "/v1/models", headers={"Authorization": "Bearer x"})[0] == 401)
    check("key", s.request("GET", "/v1/models", headers={"Authorization": "Bearer secret"})[0] == 200)
    check("x-api-key", s.request("GET", "/v1/models", headers={"x-api-key": "secret"})[0] == 200)
    check("the page needs none", s.request("GET", "/")[0] == 200)
    check("health needs none", s.request("GET", "/health")[0] == 200)
    status, headers, _ = s.request("OPTIONS", "/v1/models", headers={"Origin": "http://page.example"})
    check("cors", status == 204 and headers.get("Access-Control-Allow-Origin") == "http://page.example", headers)
    c = leave(s, False)
    c.close()
    s.end()
    r = subprocess.run([lar, "serve", "-m", MODEL, "--host", "0.0.0.0", "--port", "0"], capture_output=True,
                       text=True, timeout=30, env={k: v for k, v in os.environ.items() if k != "LAR_API_KEY"})
    check("no other address without a key", r.returncode != 0 and "key" in r.stderr, r.stderr)
    s = Server(lar, "--memory", "1")
    status, r = s.post("/v1/completions", text())
    check("too little memory says how much", status in (200, 503) and (status == 200 or "MiB" in
          r["error"]["message"]), r)
    s.end()


def down(lar):
    """Answers under way are finished."""
    s = Server(lar, "--grace", "1")
    c = leave(s, True)
    t0 = time.time()
    check("ends within its grace", s.end() == 0 and time.time() - t0 < 8, time.time() - t0)
    c.close()


def main():
    lar = sys.argv[1]
    s = Server(lar)
    if not s.port:
        sys.exit("serve_test: no server: %s" % "".join(s.log))
    for part in (routes, page, completions, chats, bad_requests, together, cancelling):
        part(s)
    check("no prompts in the log", not any("quick" in x for x in s.log), s.log)
    check("ends at SIGTERM", s.end() == 0)
    s = Server(lar, "--log-prompts")
    s.post("/v1/completions", text())
    check("prompts in the log when asked", wait_for(lambda: any("quick" in x for x in s.log)), s.log)
    s.end()
    full(lar)
    keys(lar)
    down(lar)
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(failed > 0)


main()
