// api.js - the server, as the page asks it: its models, and an answer as it comes. Needs nothing.

const KEY = "lar.key"; // for this tab alone

// Called when the server wants a key; gives one, or null.
let askKey = async () => null;
export function onKeyWanted(fn) {
    askKey = fn;
}

async function errorOf(response) {
    const text = await response.text();
    try {
        return new Error(JSON.parse(text).error.message);
    } catch {
        return new Error(`The server says ${response.status} ${response.statusText}`);
    }
}

async function ask(path, options = {}) {
    for (let again = false;; again = true) {
        const headers = {...options.headers}, key = sessionStorage.getItem(KEY);
        if (key)
            headers.Authorization = "Bearer " + key;
        let response;
        try {
            response = await fetch(path, {...options, headers});
        } catch (e) {
            throw e.name === "AbortError" ? e : new Error("The server cannot be reached.");
        }
        if (response.ok)
            return response;
        if (response.status !== 401)
            throw await errorOf(response);
        // Another request may have asked meanwhile.
        if (sessionStorage.getItem(KEY) === key) {
            const given = await askKey(again || Boolean(key));
            if (given === null)
                throw await errorOf(response);
            sessionStorage.setItem(KEY, given);
        }
    }
}

export async function models() {
    const list = await (await ask("v1/models")).json();
    return list.data.map(m => m.id);
}

// The data of server-sent events.
async function* events(body) {
    const reader = body.getReader(), decoder = new TextDecoder();
    let left = "";
    try {
        for (;;) {
            const {value, done} = await reader.read();
            left += done ? decoder.decode() : decoder.decode(value, {stream: true});
            const parts = left.split(/\r?\n\r?\n/);
            left = parts.pop();
            for (const part of parts) {
                const data = part.split(/\r?\n/).filter(l => l.startsWith("data:"))
                    .map(l => l.slice(5).trimStart()).join("\n");
                if (data)
                    yield data;
            }
            if (done)
                return;
        }
    } finally {
        reader.cancel().catch(() => {});
    }
}

// The chunks of one answer. A stream that breaks off before its end is an error.
export async function* answer(request, signal) {
    const response = await ask("v1/chat/completions", {
        method: "POST",
        headers: {"Content-Type": "application/json"},
        body: JSON.stringify({...request, stream: true, stream_options: {include_usage: true}}),
        signal,
    });
    for await (const data of events(response.body)) {
        if (data === "[DONE]")
            return;
        const chunk = JSON.parse(data);
        if (chunk.error)
            throw new Error(chunk.error.message);
        yield chunk;
    }
    throw new Error("The connection ended before the answer did.");
}
