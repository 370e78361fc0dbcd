"""cli_pty.py LAR MODEL DIR - the chat in a pseudo terminal of 60 columns, for cli_test.sh.

Prints "ok NAME" or "not ok NAME ..." per check. Waits poll for what is expected, at most 20 seconds each.
"""
import fcntl, json, os, pty, re, select, signal, struct, sys, termios, time

lar, model, work = sys.argv[1:]
WAIT = 20


class Terminal:
    def __init__(self, *args, env=None):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm", "LC_ALL": "C.UTF-8"}, **(env or {}))
            os.environ = {k: v for k, v in os.environ.items() if v}
            os.execve(lar, [lar, *args], os.environ)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))

    def pump(self, seconds=0.05):
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                self.seen += os.read(self.fd, 65536)
                return True
            except OSError:
                return None
        return False

    def expect(self, pattern, since=0):
        """The match of the pattern in what came after byte `since`, or None in time."""
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            m = re.search(pattern, self.seen[since:], re.S)
            if m:
                return m
            if self.pump() is None:
                return re.search(pattern, self.seen[since:], re.S)
        return None

    def send(self, text):
        at = len(self.seen)
        os.write(self.fd, text if isinstance(text, bytes) else text.encode())
        return at

    def wait(self):
        """The exit status; -1 when it does not end."""
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            self.pump()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return -1


def check(name, good, more=b""):
    print("ok " + name if good else "not ok %s %r" % (name, more[-600:]))


PROMPT = rb"> (\x1b\[0m)?"
STREAMS = rb"2004l[^\x1b]{8}"  # text after the editor has let go of the line
t = Terminal("chat", model, "--temp", "0", "--ignore-eos", "--seed", "1")
check("greeting", t.expect(rb"context .* tokens.*Ctrl-D.*" + PROMPT), t.seen)
head = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", t.seen).replace(b"\r", b"").split(b"\n")
check("greeting fits 60 columns", all(len(x.decode("utf-8", "replace")) <= 60 for x in head), t.seen)
check("colours on a terminal", b"\x1b[2m" in t.seen, t.seen)

at = t.send("Hello\r")
check("an answer streams", t.expect(STREAMS, at), t.seen)
at2 = t.send("\x03")
check("Ctrl-C stops the answer, not the chat", t.expect(rb"stopped.*" + PROMPT, at2), t.seen[at:])

at2 = t.send("/retry\r")
t.expect(STREAMS, at2)
at2 = t.send("\x03\x03")
check("a nervous second Ctrl-C ends nothing", t.expect(rb"stopped.*" + PROMPT, at2), t.seen[at:])
time.sleep(0.2)  # for a stray one to arrive at the prompt

at = t.send("/show\r")
m = t.expect(rb"user:.*Hello.*assistant:.*" + PROMPT, at)
check("what was said is kept", m, t.seen[at:])

at = t.send("some words\x03")
check("Ctrl-C clears the line", t.expect(rb"\^C.*" + PROMPT, at), t.seen[at:])

at = t.send("/set max-tokens 3\r")
check("/set", t.expect(rb"max-tokens = 3", at), t.seen[at:])
at = t.send("/set temp 1000\r")
check("/set checks its value", t.expect(rb"want a number from 0 to 100", at), t.seen[at:])
at = t.send("/sest\r")
check("/command did you mean", t.expect(rb"did you mean /", at), t.seen[at:])
at = t.send("/clear\r")
check("/clear", t.expect(rb"forgotten.*" + PROMPT, at), t.seen[at:])

at = t.send("\x1b[200~one\rtwo\rthree\r\x1b[201~")
check("a paste sends nothing", t.expect(rb"three", at), t.seen[at:])
at = t.send("\r")
check("a paste is one message", t.expect(rb"prompt \d+.*" + PROMPT, at), t.seen[at:])
at = t.send("/save %s/talk.json\r" % work)
t.expect(rb"saved.*" + PROMPT, at)
try:

    saved = json.load(open(work + "/talk.json"))["messages"]
except (OSError, ValueError) as e:
    saved = [{"content": str(e)}]
check("the paste as it was", saved[0].get("content") == "one\ntwo\nthree", repr(saved).encode())

at = t.send("first\\\r")
t.expect(rb"\. (\x1b\[0m)?", at)
at = t.send("second\r")
check("a backslash goes on", t.expect(rb"prompt \d+.*" + PROMPT, at), t.seen[at:])
at = t.send('"""a\r')
t.expect(rb"\. (\x1b\[0m)?", at)
at = t.send('b"""\r')
check("triple quotes", t.expect(rb"prompt \d+.*" + PROMPT, at), t.seen[at:])
at = t.send("/show\r")
check("messages of many lines", t.expect(rb"first\r\nsecond.*a\r\nb", at), t.seen[at:])
at = t.send("/undo\r")
check("/undo", t.expect(rb"taken back.*" + PROMPT, at), t.seen[at:])
at = t.send("/load %s/talk.json\r" % work)
check("/load", t.expect(rb"2 messages loaded.*" + PROMPT, at), t.seen[at:])
at = t.send("/retry\r")
check("/retry", t.expect(rb"prompt \d+.*" + PROMPT, at), t.seen[at:])
at = t.send("/sys\t")
check("Tab completes", t.expect(rb"tem", at), t.seen[at:])
at = t.send("\x03")
t.expect(rb"\^C.*" + PROMPT, at)
at = t.send("\x03")
check("Ctrl-C at an empty prompt warns", t.expect(rb"again.*" + PROMPT, at), t.seen[at:])
t.send("\x03")
check("a second one ends the chat", t.wait() == 0, t.seen)

t = Terminal("chat", model, env={"NO_COLOR": "1"})
check("history was kept", t.expect(rb"> ") and "Hello" in open(work + "/state/lar/history").read(), t.seen)
check("NO_COLOR on a terminal", not re.search(rb"\x1b\[[0-9]+m", t.seen), t.seen)
at = t.send("\x04")
check("Ctrl-D ends the chat", t.wait() == 0, t.seen)



def messages(name):
    try:
        return [m.get("content") for m in json.load(open(work + "/" + name))["messages"]]
    except (OSError, ValueError) as e:
        return [str(e)]


# No locale at all: text is UTF-8 all the same.
own = work + "/own.gguf"
open(work + "/own.settings.json", "w").write('{"max_tokens": 3, "temp": 0, "top_k": 7}')
t = Terminal("chat", own, env={"LC_ALL": "", "LANG": "", "LC_CTYPE": ""})
check("settings are in the greeting", t.expect(rb"settings of own.settings.json: max_tokens,\s+temp,\s+top_k.*" + PROMPT), t.seen)
at = t.send("/set\r")
check("/set shows the settings file", t.expect(rb"top-k +7 +settings file.*" + PROMPT, at), t.seen[at:])
text = "Grüße, Ωmega “日本” 🙂 ~ é"
at = t.send("\x1b[200~%s\r\t%s\x1b[201~" % (text, text))
t.expect(" é".encode() + rb".* \xc3\xa9", at)
at = t.send(" ü\r")
check("a paste beyond ASCII is answered", t.expect(rb"prompt \d+.*" + PROMPT, at), t.seen[at:])
at = t.send(b"\x1b[200~a\xff\x1b\x1b[201~\r")
check("a paste of no UTF-8", t.expect(rb"prompt \d+.*" + PROMPT, at), t.seen[at:])
at = t.send('"""\r')
t.expect(rb"\. (\x1b\[0m)?", at)
t.send("x\r")
at = t.send('y"""\r')
check("a block of quotes", t.expect(rb"prompt \d+.*" + PROMPT, at), t.seen[at:])
at = t.send("/save %s/paste.json\r" % work)
check("/save", t.expect(rb"6 messages saved", at), t.seen[at:])
got = messages("paste.json")[::2]
check("a paste beyond ASCII as it was", got[0] == text + "\n " + text + " ü", repr(got).encode())
check("what is no UTF-8 is replaced", got[1:2] == ["a\ufffd"], repr(got).encode())
check("a block begins with its first line", got[2:3] == ["x\ny"], repr(got).encode())
at = t.send("/save %s/paste.json\r" % work)
check("/save writes over a saved chat", t.expect(rb"6 messages saved", at), t.seen[at:])
open(work + "/mine.json", "w").write('{"x": 1}')
at = t.send("/save %s/mine.json\r" % work)
check("/save refuses another file", t.expect(rb"not\s+overwritten", at), t.seen[at:])
check("the other file is as it was", open(work + "/mine.json").read() == '{"x": 1}')
t.send("\x04")
check("that chat ends", t.wait() == 0, t.seen)

t = Terminal("chat", own, "--ctx", "256")
t.expect(PROMPT)
for i in range(2):
    at = t.send("first %s\r" % ("word " * 8))
    t.expect(rb"prompt \d+.*" + PROMPT, at)
json.dump({"model": "m", "messages": [{"role": r, "content": "word " * 10} for _ in range(20) for r in ("user", "assistant")]},
          open(work + "/long.json", "w"))
at = t.send("/load %s/long.json\r" % work)
t.expect(rb"40 messages loaded.*" + PROMPT, at)
at = t.send("more\r")
check("a full context names ctx-shift", t.expect(rb"/set\s+ctx-shift\s+on.*" + PROMPT, at), t.seen[at:])
at = t.send("/set ctx-shift on\r")
t.expect(rb"ctx-shift = on.*" + PROMPT, at)
at = t.send("more\r")
check("old turns go", t.expect(rb"prompt \d+.*" + PROMPT, at), t.seen[at:])
check("how many is said", re.search(rb"oldest\s+\d+\s+turns\s+were\s+dropped", t.seen[at:]), t.seen[at:])
t.send("\x04")
check("a shifted chat ends", t.wait() == 0, t.seen)

t = Terminal("run", model, "Hello", "--raw", "--temp", "0", "--ignore-eos")
check("run streams", t.expect(rb".{8}"), t.seen)
os.write(t.fd, b"\x03")
check("Ctrl-C ends run with 130", t.wait() == 130, t.seen)
