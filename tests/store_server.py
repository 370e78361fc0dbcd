"""store_server.py - a server that the store's tests talk to: it serves files well, or in one of the
ways that servers go wrong. The first path segment names the way; what it saw is at /log.

    store_server.py FOLDER       prints its port, serves until it is killed

/WAY/FILE       ok, norange, drop (the connection after 40,000 bytes), dropmany (after 10,000), lierange
                (other bytes than asked for), lielong, lieshort (of its length), flip (one byte), redirect
                (to another host name), once500, once429, e416, e403, stall, change (another file after
                200,000 bytes), slow, nolength, loop
/hf/api/models/OWNER/REPO/tree/main, /hf/OWNER/REPO/resolve/main/FILE     a hub (gated: owner "gated")
/ollama/v2/library/MODEL/manifests/TAG, .../blobs/sha256:HEX, .../chunksums/sha256:HEX
Needs Python's standard library.
"""
import hashlib
import json
import os
import re
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

folder = sys.argv[1]
lock = threading.Lock()
seen = []            # [way, path, range, bytes sent, host, token]
counts = {}          # how often a path was asked for
served = {}          # bytes of a path


def read(name):
    with open(os.path.join(folder, os.path.basename(name)), "rb") as f:
        return f.read()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def note(self, way, n):
        with lock:
            seen.append([way, self.path, self.headers.get("Range"), n, self.headers.get("Host"),
                         self.headers.get("Authorization")])
            served[self.path] = served.get(self.path, 0) + n

    def text(self, code, body, **more):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        for k, v in more.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        try:
            self.answer()
        except (BrokenPipeError, ConnectionResetError):
            pass

    def answer(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if self.path == "/log":
            with lock:
                return self.text(200, json.dumps({"seen": seen, "served": served}))
        if self.path == "/clear":
            with lock:
                seen.clear(), served.clear(), counts.clear()
            return self.text(200, "")
        if parts[0] == "hf":
            return self.hub(parts[1:])
        if parts[0] == "ollama":
            return self.registry(parts[1:])
        with lock:
            counts[self.path] = counts.get(self.path, 0) + 1
            times = counts[self.path]
        self.serve(parts[0], parts[-1], times)

    # ---- files ------------------------------------------------------------------------------------

    def serve(self, way, name, times):
        try:
            data = read(name)
        except OSError:
            return self.text(404, "<html>not here</html>")
        port = self.server.server_address[1]
        codes = {"once500": 500, "once429": 429}
        if way in codes and times <= 2:
            self.note(way, 0)
            return self.text(codes[way], "later", Retry_After="1")
        if way in ("e403", "e416"):
            self.note(way, 0)
            return self.text(int(way[1:]), "no")
        if way == "redirect":
            self.note(way, 0)
            return self.text(302, "", Location="http://localhost:%d/ok/%s" % (port, name))
        if way == "loop":
            return self.text(302, "", Location="/loop/" + name)
        if way == "change" and times > 1:
            data = data[:-4000] + bytes(4000)
        if way == "flip":
            data = data[:len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1:]
        self.send_file(way, data)

    def send_file(self, way, data, of=None):
        tag = '"%s"' % hashlib.sha256(of or data).hexdigest()[:16]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if self.headers.get("If-Range") not in (None, tag) or way in ("norange", "nolength"):
            asked = None
        begin, end = 0, len(data)
        if asked:
            begin = int(asked[1])
            end = min(int(asked[2]) + 1 if asked[2] else end, end)
            if begin >= len(data):
                self.note(way, 0)
                return self.text(416, "", Content_Range="bytes */%d" % len(data))
        said = begin
        if way == "lierange" and asked and begin:
            begin, end = begin - 1, end - 1
            said = begin
        length = end - begin + {"lielong": 1000, "lieshort": -1000 if not asked else 0}.get(way, 0)
        total = len(data) + {"lielong": 1000, "lieshort": -1000}.get(way, 0)
        if way == "lieshort":
            end = min(end, total)
            length = end - begin
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (said, begin + length - 1, total))
        if way != "notag":
            self.send_header("ETag", tag)
        if way == "nolength":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.send_bytes(way, data[begin:end])
        if way in ("nolength", "lielong"):
            self.close_connection = True

    def send_bytes(self, way, body):
        limit = {"drop": 40000, "dropmany": 10000, "stall": 200000,
                 "change": 250000}.get(way)
        sent = 0
        try:
            while sent < len(body):
                piece = body[sent:sent + 8192]
                self.wfile.write(piece)
                sent += len(piece)
                with lock:
                    served[self.path] = served.get(self.path, 0) + len(piece)
                if way == "slow":
                    time.sleep(0.004)
                if limit and sent >= limit and sent < len(body):
                    if way == "stall":
                        time.sleep(3)
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    break
        except OSError:
            self.close_connection = True
        with lock:
            seen.append([way, self.path, self.headers.get("Range"), sent, self.headers.get("Host"),
                         self.headers.get("Authorization")])

    # ---- a hub ------------------------------------------------------------------------------------

    def hub(self, parts):
        token = self.headers.get("Authorization")
        self.note("hub", 0)
        if parts[:2] == ["api", "models"]:
            owner, repo = parts[2:4]
            if owner == "gated" and token != "Bearer secret":
                return self.text(401, "{}", X_Error_Code="GatedRepo")
            if owner == "none":
                return self.text(404, "{}", X_Error_Code="RepoNotFound")
            files = sorted(f for f in os.listdir(folder) if f.endswith(".gguf"))
            if repo != "all":
                files = [f for f in files if re.match(re.escape(repo) + "[.-]", f)]
            rows = [{"type": "file", "path": f, "size": os.path.getsize(os.path.join(folder, f)),
                     "lfs": {"oid": hashlib.sha256(read(f)).hexdigest()}} for f in files]
            half = "cursor" not in self.path and len(rows) > 1
            link = {}
            if half:
                link = {"Link": '<http://%s/hf/api/models/%s/%s/tree/main?cursor=1>; rel="next"' % (
                    self.headers["Host"], owner, repo)}
            rows = rows[:1] if half else rows[1:] if "cursor" in self.path else rows
            return self.text(200, json.dumps(rows + [{"type": "directory", "path": "x"}]), **link)
        if "resolve" in parts:
            if parts[0] == "gated" and token != "Bearer secret":
                return self.text(401, "", X_Error_Code="GatedRepo")
            port = self.server.server_address[1]
            return self.text(302, "", Location="http://localhost:%d/ok/%s?signature=x" % (
                port, parts[-1]))
        return self.text(404, "")

    # ---- a registry -------------------------------------------------------------------------------

    def registry(self, parts):
        model = next((p for p in parts if os.path.exists(os.path.join(folder, p + ".gguf"))), None)
        if not model or parts[:2] != ["v2", "library"]:
            return self.text(404, '{"errors": []}')
        data = read(model + ".gguf")
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if "manifests" in parts:
            layers = [{"mediaType": "application/vnd.ollama.image.template", "size": 3,
                       "digest": "sha256:" + "0" * 64},
                      {"mediaType": "application/vnd.ollama.image.model", "size": len(data),
                       "digest": digest}]
            return self.text(200, json.dumps({"schemaVersion": 2, "layers": layers}))
        if "chunksums" in parts:
            if parts[-2:] and model.endswith("plain"):
                return self.text(404, "")
            step, lines = 100000, []
            for i in range(0, len(data), step):
                piece = data[i:i + step]
                lines.append("sha256:%s %d-%d" % (hashlib.sha256(piece).hexdigest(), i,
                                                  i + len(piece) - 1))
            return self.text(200, "\n".join(lines))
        if "blobs" in parts and parts[-1] == digest:
            with lock:
                counts[self.path] = counts.get(self.path, 0) + 1
            if "flip" in model and counts[self.path] == 1:
                bad = data[:150000] + bytes([data[150000] ^ 1]) + data[150001:]
                return self.send_file("flipped", bad, of=data)
            return self.send_file("blob", data)
        return self.text(404, "")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
