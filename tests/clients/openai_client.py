#!/usr/bin/env python3
"""openai_client.py BASE_URL MODEL - OpenAI's own Python package against `lar serve`.

Prints "N passed, N failed".
"""
import concurrent.futures
import sys

import openai

passed = failed = 0


def check(what, ok, detail=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print("FAILED: %s %s" % (what, str(detail)[:300]))


client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
model = sys.argv[2]
ask = [{"role": "user", "content": "Name the capital of France."}]

check("models", model in [m.id for m in client.models.list()])
whole = client.chat.completions.create(model=model, messages=ask, temperature=0, max_tokens=24, logprobs=True,
                                       top_logprobs=3)
said = whole.choices[0].message.content
check("chat", said and whole.usage.completion_tokens <= 24, whole)
check("logprobs", len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens)
chunks = list(client.chat.completions.create(model=model, messages=ask, temperature=0, max_tokens=24, stream=True,
                                             stream_options={"include_usage": True}))
check("stream", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == said)
check("usage", chunks[-1].usage.completion_tokens == whole.usage.completion_tokens, chunks[-1])
text = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8, temperature=0, echo=True,
                                 logprobs=1)
check("completion", text.choices[0].text.startswith("Once upon a time"), text)
check("n", len(client.chat.completions.create(model=model, messages=ask, n=2, max_tokens=4).choices) == 2)
tools = [{"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}}]
check("tools are taken", client.chat.completions.create(model=model, messages=ask, tools=tools,
                                                        max_tokens=8).choices[0].message)
done = client.chat.completions.create(model=model, messages=ask, max_tokens=64, temperature=0, response_format={
    "type": "json_schema", "json_schema": {"name": "a", "schema": {
        "type": "object", "properties": {"city": {"type": "string", "maxLength": 10}}, "required": ["city"],
        "additionalProperties": False}}})
check("json schema", done.choices[0].message.content.startswith("{"), done)
for name, kind, kw in (("bad request", openai.BadRequestError, {"temperature": -1}),
                       ("no such model", openai.NotFoundError, {"model": "none"})):
    try:
        client.chat.completions.create(**dict({"model": model, "messages": ask}, **kw))
        check(name, False)
    except kind as e:
        check(name, e.body["message"], e)


def one(i):
    return client.chat.completions.create(model=model, messages=ask, temperature=0,
                                          max_tokens=24).choices[0].message.content


with concurrent.futures.ThreadPoolExecutor(8) as pool:
    check("8 at once", set(pool.map(one, range(8))) == {said})
print("%d passed, %d failed" % (passed, failed))
sys.exit(failed > 0)
