#!/usr/bin/env python3
"""serve_load.py URL MODEL [CLIENTS...] - tokens per second of a server that speaks OpenAI's API.

For each number of clients: every client asks for 64 tokens of a prompt of its own, streamed, twice;
printed are all chunks (tokens, with most servers) per second together and the median time to the first.
Standard library only.
"""
import http.client
import json
import statistics
import sys
import threading
import time
import urllib.parse

TOKENS, ROUNDS = 64, 2


def ask(url, model, i, firsts, counts):
    for r in range(ROUNDS):
        c = http.client.HTTPConnection(url.hostname, url.port, timeout=300)
        t0, n = time.monotonic(), 0
        c.request("POST", "/v1/completions", json.dumps({
            "model": model, "prompt": "Story %d.%d, which begins in a small town by the sea:" % (i, r),
            "max_tokens": TOKENS, "temperature": 0, "stream": True}), {"Content-Type": "application/json"})
        for line in c.getresponse():
            if line.startswith(b"data: {"):
                n += 1
                if n == 1:
                    firsts.append(time.monotonic() - t0)
        counts.append(n)
        c.close()


def main():
    url, model = urllib.parse.urlsplit(sys.argv[1]), sys.argv[2]
    for n in [int(x) for x in sys.argv[3:]] or [1, 4, 16]:
        firsts, counts, t0 = [], [], time.monotonic()
        threads = [threading.Thread(target=ask, args=(url, model, i, firsts, counts)) for i in range(n)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        took = time.monotonic() - t0
        print("%3d clients  %7.1f tokens/s  first after %.3f s" %
              (n, sum(counts) / took, statistics.median(firsts)), flush=True)


main()
