#!/usr/bin/env python3
"""Records what transformers' own jinja2 environment makes of chat templates.

  templates.py TEMPLATE_DIR [EXTRA_TEMPLATE ...]    writes tests/data/templates/*.json
  templates.py --case                               writes src/text/jinja_case.c (clang-format it then)

conversations.json holds the inputs, one file per template the outputs by the input's name, snippets.json the lines of
jinja_snippets.txt with theirs. An output is a string, or {"error": message, "raised": true if the template itself called
raise_exception}. The clock of strftime_now stands still. Needs jinja2 and transformers.
"""
import datetime, json, os, sys
import jinja2, transformers
from transformers.utils import chat_template_utils as ctu

NOW = 1753279852  # 2025-07-23 14:10:52 UTC
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "..", "tests", "data", "templates")


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None)


ctu.datetime = Clock


def oracle(template, variables):
    """(output, spans in bytes) or ({"error": ...}, None)"""
    try:
        compiled = ctu._compile_jinja_template(template)
        v = json.loads(json.dumps(variables))
        blocks, spans = [], []
        with compiled.environment.activate_tracker(blocks, spans):
            for b in compiled.generate(**v):
                blocks.append(b)
            text = "".join(blocks)
        text.encode()
        byte = lambda i: len(text[:i].encode())
        return text, [[byte(a), byte(b)] for a, b in spans]
    except Exception as e:  # whatever a template can make Python raise
        return {"error": str(e)[:200], "raised": type(e) is jinja2.exceptions.TemplateError}, None


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the weather. Units: °C or °F \"as asked\".",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "The city's name"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": ["integer", "null"], "minimum": 1}},
        "required": ["city"]},
    "return": {"type": "string", "description": "The weather"}}}
SEARCH = {"type": "function", "function": {
    "name": "search", "description": "Search <web> & files",
    "parameters": {"type": "object", "properties": {
        "query": {"type": "string"},
        "filters": {"type": "object", "properties": {"lang": {"type": "array", "items": {"type": "string"}},
                                                     "max": {"type": "number", "default": 0.5}}}},
        "required": ["query"]}}}
CALL = {"type": "function", "id": "call00001", "function": {
    "name": "get_weather", "arguments": {"city": "Zürich", "days": 3, "unit": "celsius"}}}
CALL_TEXT = {"type": "function", "id": "call00002", "function": {
    "name": "search", "arguments": "{\"query\": \"C11 <threads>\", \"filters\": {\"lang\": [\"en\", \"日本語\"]}}"}}


def m(role, content, **k):
    return dict({"role": role, "content": content}, **k)


BASE = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
SYS = m("system", "You are a helpful assistant.")
U1 = m("user", "What is the capital of France?")
A1 = m("assistant", "Paris.")
U2 = m("user", "And of Japan? 日本の首都は？ 🗼 <|im_start|> {{ x }}")
CONVERSATIONS = {
    "user": {"messages": [U1], "add_generation_prompt": True},
    "user_no_prompt": {"messages": [U1], "add_generation_prompt": False},
    "system_multi": {"messages": [SYS, U1, A1, U2], "add_generation_prompt": True},
    "multi_closed": {"messages": [U1, A1, U2, m("assistant", "  Tōkyō.\n\n")], "add_generation_prompt": False},
    "tools": {"messages": [SYS, m("user", "Weather in Zürich?")], "tools": [WEATHER, SEARCH],
              "add_generation_prompt": True},
    "tool_call": {"messages": [m("user", "Weather in Zürich?"), m("assistant", "", tool_calls=[CALL])],
                  "tools": [WEATHER], "add_generation_prompt": False},
    "tool_result": {"messages": [SYS, m("user", "Weather in Zürich?"),
                                 m("assistant", "I look it up.", tool_calls=[CALL]),
                                 m("tool", "{\"temp\": 21.5}", name="get_weather", tool_call_id="call00001")],
                    "tools": [WEATHER, SEARCH], "add_generation_prompt": True},
    "two_calls": {"messages": [m("user", "Both, please."),
                               m("assistant", None, tool_calls=[CALL, dict(CALL, id="call00003")]),
                               m("tool", "sunny", name="get_weather", tool_call_id="call00001"),
                               m("tool", "rainy", name="get_weather", tool_call_id="call00003"),
                               m("assistant", "Sun, then rain."), m("user", "Thanks!")],
                  "tools": [WEATHER], "add_generation_prompt": True},
    "call_as_text": {"messages": [m("user", "Search."), m("assistant", "", tool_calls=[CALL_TEXT]),
                                  m("tool", "[]", name="search", tool_call_id="call00002")],
                     "tools": [SEARCH], "add_generation_prompt": True},
    "thinking": {"messages": [SYS, U1, m("assistant", "Paris.", reasoning_content="France. Its capital: Paris.",
                                         thinking="France. Its capital: Paris."), U2],
                 "add_generation_prompt": True, "enable_thinking": True, "thinking": True},
    "no_thinking": {"messages": [SYS, U1, m("assistant", "<think>\nhm\n</think>\n\nParis."), U2],
                    "add_generation_prompt": True, "enable_thinking": False, "thinking": False,
                    "reasoning_effort": "low"},
    "thinking_tools": {"messages": [m("user", "Weather?"),
                                    m("assistant", "", reasoning_content="I need the tool.", thinking="I need it.",
                                      tool_calls=[CALL]),
                                    m("tool", {"temp": 3, "ok": True, "x": None}, name="get_weather",
                                      tool_call_id="call00001"),
                                    m("assistant", "3 degrees.", reasoning_content="Done."), m("user", "Sure?")],
                       "tools": [WEATHER], "add_generation_prompt": True, "enable_thinking": True,
                       "keep_cot": True, "documents": []},
    "parts": {"messages": [m("system", [{"type": "text", "text": "Be brief."}]),
                           m("user", [{"type": "text", "text": "Hello "}, {"type": "image"},
                                      {"type": "text", "text": "wörld"}])], "add_generation_prompt": True},
    "two_users": {"messages": [U1, U2], "add_generation_prompt": True},
    "odd_role": {"messages": [m("developer", "Obey."), m("function", "?"), U1], "add_generation_prompt": False},
    "empty": {"messages": [], "add_generation_prompt": True},
}


# what some templates want beside the common variables
EXTRA = {"fireworks-ai-llama-3-firefunction-v2.jinja": {"functions": "[]", "datetime": "2025-07-23"}}


def dump(name, data):
    path = os.path.join(OUT, name)
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        json.dump(data, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    return os.path.getsize(path)


def snippets():
    """Lines of jinja_snippets.txt: a template as a JSON string or bare, or `#` and a comment; `@ {json}` sets the
    variables of the lines after it."""
    variables, rows = {}, []
    with open(os.path.join(HERE, "jinja_snippets.txt"), encoding="utf-8") as f:
        for line in f:
            line = line.rstrip("\n")
            if not line or line.startswith("# "):
                continue
            if line.startswith("@ "):
                variables = json.loads(line[2:])
                rows.append({"vars": variables})
                continue
            t = json.loads(line) if line.startswith('"') and line.endswith('"') else line
            out, spans = oracle(t, variables)
            row = {"t": t, "out": out}
            if spans:
                row["spans"] = spans
            rows.append(row)
    return rows


def case_table():
    c_text = lambda x: '"' + "".join("\\%03o" % b for b in x.encode()) + '"'
    with open(os.path.join(HERE, "..", "..", "src", "text", "jinja_case.c"), "w") as f:
        f.write("/*\n * jinja_case.c - characters whose upper, title or lower case is more than one character\n"
                " * (the unconditional part of Unicode's SpecialCasing.txt). Generated from Python's str methods\n"
                " * by tools/goldens/templates.py --case. Depends on jinja.h.\n */\n"
                '#include "text/jinja.h"\n\nconst jcase lar__jcases[] = {\n')
        for cp in range(0x110000):
            if 0xD800 <= cp < 0xE000:
                continue
            forms = [chr(cp).upper(), chr(cp).title(), chr(cp).lower()]
            if max(map(len, forms)) > 1:
                f.write("    {0x%04X, %s},\n" % (cp, ", ".join(c_text(x if len(x) > 1 else "") for x in forms)))
        f.write("};\nconst size_t lar__jcases_n = LAR_LEN(lar__jcases);\n")


def main():
    if sys.argv[1:] == ["--case"]:
        return case_table()
    os.makedirs(OUT, exist_ok=True)
    versions = {"jinja2": jinja2.__version__, "transformers": transformers.__version__, "python": sys.version.split()[0]}
    inputs = {k: dict(BASE, **v) for k, v in CONVERSATIONS.items()}
    total = dump("conversations.json", {"versions": versions, "now": NOW, "inputs": inputs})
    files = [os.path.join(sys.argv[1], x) for x in sorted(os.listdir(sys.argv[1])) if x.endswith(".jinja")]
    for path in files + sys.argv[2:]:
        with open(path, encoding="utf-8", newline="") as f:
            text = f.read()
        outs, spans = {}, {}
        extra = EXTRA.get(os.path.basename(path), {})
        for name, v in inputs.items():
            outs[name], s = oracle(text, dict(v, **extra))
            if s:
                spans[name] = s
        good = sum(isinstance(o, str) for o in outs.values())
        data = {"template": os.path.basename(path), "outputs": outs}
        if spans:
            data["spans"] = spans
        if extra:
            data["extra"] = extra
        if path in sys.argv[2:]:
            data["source"] = text
        total += dump("t-" + os.path.basename(path).replace(".jinja", "") + ".json", data)
        if good < 5:
            print(f"{path}: only {good} conversations render")
    rows = snippets()
    total += dump("snippets.json", rows)
    n = sum("t" in x for x in rows)
    print(f"{len(files)} templates, {n} snippets, {total} bytes")


if __name__ == "__main__":
    main()
