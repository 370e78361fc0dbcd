// app.js - the page: conversations at the side, messages, the box to write in, settings. What is
// shown follows from what store.js keeps; an answer on its way is in `running`.
import * as api from "./api.js";
import * as store from "./store.js";
import {copyButton, el, render} from "./markdown.js";

const FILE_MOST = 1 << 20; // bytes of a file: a model reads no more anyway
const $ = id => document.getElementById(id);
const running = new Map(); // a conversation's id: the AbortController of its answer
const views = new WeakMap(); // a message: how its element is brought up to date
let current = store.newChat(), files = [];

// ---- dialogs ---------------------------------------------------------------------------------------

// Ask for a word (value: its first one) or for a yes. Null: neither. Questions wait for each other.
let asked = Promise.resolve();
function ask(question) {
    return asked = asked.then(() => askNow(question));
}

function askNow({title, text = "", value, type = "text", yes}) {
    const dialog = $("ask"), input = $("ask-value");
    $("ask-title").textContent = title;
    $("ask-text").textContent = text;
    $("ask-yes").textContent = yes;
    input.hidden = input.disabled = value === undefined;
    input.type = type;
    input.value = value || "";
    return new Promise(resolve => {
        let result = null;
        dialog.querySelector("form").onsubmit = e => {
            e.preventDefault();
            result = input.hidden ? true : input.value;
            dialog.close();
        };
        $("ask-no").onclick = () => dialog.close();
        dialog.onclose = () => resolve(result);
        dialog.showModal();
        if (!input.hidden)
            input.select();
    });
}

function notice(text) {
    $("notice").textContent = text;
    $("notice").hidden = !text;
}

function announce(text) {
    $("status").textContent = text;
}

// ---- conversations ---------------------------------------------------------------------------------

const titleOf = chat => chat.title || "New conversation";

function save(chat) {
    if (!store.save(chat))
        notice("The browser has no room for more: delete a conversation, or export this one.");
}

function icon(name) {
    const ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg");
    const use = document.createElementNS(ns, "use");
    use.setAttribute("href", "#i-" + name);
    svg.append(use);
    return svg;
}

function action(name, label, fn) {
    return el("button", {type: "button", class: "icon", "aria-label": label, title: label, onclick: fn},
              icon(name));
}

function showChats() {
    $("chats").replaceChildren(...store.chats().map(c => {
        const here = c.id === current.id, title = titleOf(c);
        const open = el("button", {type: "button", class: "chat", "aria-current": here ? "true" : null,
                                   onclick: () => openChat(store.chat(c.id) || c)}, title);
        return el("li", {class: here ? "here" : null}, open,
                  ...(here ? [action("pen", `Rename ${title}`, () => rename(c.id)),
                              action("save", `Export ${title}`, () => exportChat(c.id)),
                              action("bin", `Delete ${title}`, () => remove(c.id))] : []));
    }));
    $("title").textContent = titleOf(current);
    document.title = current.title ? current.title + " - LAR" : "LAR";
}

async function rename(id) {
    const c = id === current.id ? current : store.chat(id);
    const title = await ask({title: "Rename the conversation", value: titleOf(c), yes: "Rename"});
    if (title === null || !title.trim())
        return;
    c.title = title.trim();
    save(c);
    showChats();
}

async function remove(id) {
    const c = store.chat(id);
    if (!await ask({title: "Delete the conversation?", text: `"${titleOf(c)}" will be gone for good.`,
                    yes: "Delete"}))
        return;
    store.remove(id);
    stop(id);
    openChat(store.chats()[0] || store.newChat());
    $("text").focus();
}

function download(name, type, text) {
    const url = URL.createObjectURL(new Blob([text], {type}));
    el("a", {href: url, download: name}).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function exportChat(id) {
    const c = store.chat(id), name = titleOf(c).replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60);
    download(name + ".md", "text/markdown", store.markdown(c));
}

function openChat(chat) {
    // One that is being answered goes on as the object that the answer is written to.
    current = running.get(chat.id)?.chat || chat;
    sessionStorage.setItem("lar.here", current.id);
    side(false);
    notice("");
    showChats();
    showMessages();
    if (current.model && [...$("model").options].some(o => o.value === current.model))
        $("model").value = current.model;
}

// ---- messages --------------------------------------------------------------------------------------

function fileList(list) {
    return list.map(f => el("details", {class: "file"},
                            el("summary", null, f.name), el("pre", {tabindex: 0}, f.text)));
}

function userView(m) {
    return el("article", {class: "user", "aria-label": "You"}, ...fileList(m.files || []),
              el("div", {class: "text"}, m.text));
}

function footOf(m, last) {
    const speed = m.tokens && m.seconds > 0 ? `${m.tokens} tokens, ${(m.tokens / m.seconds).toFixed(1)}/s` : "";
    const foot = [copyButton("Copy", () => m.text)];
    if (last)
        foot.push(el("button", {type: "button", class: "small", onclick: again}, "Try again"));
    return [...foot, el("span", {class: "fine"}, [m.model, speed].filter(Boolean).join(" · "))];
}

function answerView(m) {
    const thought = el("div", {class: "thought"}), body = el("div", {class: "markdown"});
    const summary = el("summary"), thinking = el("details", {class: "thinking"}, summary, thought);
    const waiting = el("p", {class: "waiting"}, "Waiting for the model"), note = el("p", {class: "note"});
    const foot = el("div", {class: "foot"});
    const node = el("article", {class: "answer", "aria-label": "Answer"}, thinking, body, waiting, note, foot);
    views.set(m, () => {
        const live = running.get(current.id)?.message === m;
        const last = current.messages[current.messages.length - 1] === m;
        thinking.hidden = !m.thinking;
        summary.textContent = live && !m.text ? "Thinking …" : "Thoughts";
        if (m.thinking && thought.textContent !== m.thinking)
            thought.textContent = m.thinking;
        render(body, m.text);
        waiting.hidden = !live || Boolean(m.text || m.thinking);
        note.hidden = !m.note;
        note.textContent = m.note || "";
        note.classList.toggle("bad", Boolean(m.failed));
        foot.replaceChildren(...(live ? [] : footOf(m, last)));
    });
    return node;
}

function showMessages() {
    $("empty").hidden = current.messages.length > 0;
    $("log").replaceChildren(...current.messages.map(m => m.role === "user" ? userView(m) : answerView(m)));
    for (const m of current.messages)
        views.get(m)?.();
    showState();
    toEnd();
}

function showState() {
    const busy = running.has(current.id), hadFocus = document.activeElement;
    $("send").hidden = busy;
    $("stop").hidden = !busy;
    if (hadFocus === (busy ? $("send") : $("stop")))
        (busy ? $("stop") : $("text")).focus();
    $("log").setAttribute("aria-busy", busy);
}

const atEnd = () => $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight < 60;

function toEnd() {
    $("scroll").scrollTop = $("scroll").scrollHeight;
}

// ---- asking ----------------------------------------------------------------------------------------

function contentOf(m) {
    const parts = (m.files || []).map(f => `File ${f.name}:\n${store.fenced(f.text)}`);
    return [...parts, m.text].filter(Boolean).join("\n\n");
}

function requestOf(chat) {
    const {system, temperature, top_p, max_tokens, seed} = store.settings();
    const said = chat.messages.filter(m => m.role === "user" || m.text)
        .map(m => ({role: m.role, content: contentOf(m)}));
    return {model: chat.model, temperature, top_p, max_tokens, seed,
            messages: system ? [{role: "system", content: system}, ...said] : said};
}

function take(m, chunk) {
    const choice = chunk.choices && chunk.choices[0];
    if (chunk.usage)
        m.tokens = chunk.usage.completion_tokens;
    if (!choice)
        return;
    m.text += choice.delta?.content || "";
    m.thinking += choice.delta?.reasoning_content || "";
    if (choice.finish_reason === "length")
        m.note = "Cut here: the limit of tokens was reached.";
}

async function answer(chat) {
    const m = {role: "assistant", text: "", thinking: "", model: chat.model};
    const request = requestOf(chat), job = {chat, message: m, abort: new AbortController()};
    chat.messages.push(m);
    chat.time = Date.now();
    running.set(chat.id, job);
    save(chat);
    let drawn = 0, first = 0;
    const draw = () => {
        drawn = 0;
        const follow = atEnd();
        if (chat === current)
            views.get(m)?.();
        if (chat === current && follow)
            toEnd();
    };
    showChats();
    showMessages();
    announce("Answering");
    try {
        for await (const chunk of api.answer(request, job.abort.signal)) {
            take(m, chunk);
            if (m.text || m.thinking)
                first = first || performance.now();
            drawn = drawn || requestAnimationFrame(draw);
        }
    } catch (e) {
        m.note = e.name === "AbortError" ? "Stopped." : e.message;
        m.failed = e.name !== "AbortError";
    }
    cancelAnimationFrame(drawn);
    m.seconds = first ? (performance.now() - first) / 1000 : 0;
    running.delete(chat.id);
    if (!job.deleted)
        save(chat);
    draw();
    showState();
    announce([m.text, m.note].filter(Boolean).join("\n"));
}

function stop(id) {
    const job = running.get(id);
    if (job) {
        job.deleted = !store.chat(id);
        job.abort.abort();
    }
}

function send() {
    const text = $("text").value.trim();
    if (running.has(current.id) || !text && !files.length)
        return;
    if (!$("model").value) {
        notice("The server has no model: start it with one.");
        return;
    }
    notice("");
    current.model = $("model").value;
    current.title = current.title || (text || files[0].name).replace(/\s+/g, " ").slice(0, 60);
    current.messages.push(files.length ? {role: "user", text, files} : {role: "user", text});
    files = [];
    showFiles();
    $("text").value = "";
    fit();
    answer(current);
}

// The last answer, once more.
function again() {
    if (running.has(current.id))
        return;
    current.messages.pop();
    current.model = $("model").value || current.model;
    answer(current);
    $("text").focus();
}

// ---- the box ---------------------------------------------------------------------------------------

function fit() {
    $("text").style.height = "auto";
    $("text").style.height = $("text").scrollHeight + "px";
}

function showFiles() {
    $("files").replaceChildren(...files.map((f, i) => el("li", null, f.name, action("close", `Remove ${f.name}`, () => {
        files.splice(i, 1);
        showFiles();
        $("text").focus();
    }))));
}

async function addFiles(list) {
    const wrong = [];
    for (const f of list) {
        const bytes = f.size <= FILE_MOST ? new Uint8Array(await f.arrayBuffer()) : null;
        try {
            if (!bytes || bytes.includes(0))
                throw 0;
            files.push({name: f.name, text: new TextDecoder("utf-8", {fatal: true}).decode(bytes)});
        } catch {
            wrong.push(f.name);
        }
    }
    notice(wrong.length ? `Only text in UTF-8 of at most 1 MiB can be added: ${wrong.join(", ")}` : "");
    showFiles();
    $("text").focus();
}

function box() {
    $("compose").addEventListener("submit", e => {
        e.preventDefault();
        send();
    });
    $("text").addEventListener("input", fit);
    $("text").addEventListener("keydown", e => {
        if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
            e.preventDefault();
            send();
        }
    });
    $("stop").addEventListener("click", () => stop(current.id));
    $("attach").addEventListener("click", () => $("pick").click());
    $("pick").addEventListener("change", async () => {
        await addFiles([...$("pick").files]);
        $("pick").value = "";
    });
    $("to-end").addEventListener("click", toEnd);
    $("scroll").addEventListener("scroll", () => $("to-end").hidden = atEnd());
    const dropped = e => [...(e.dataTransfer?.types || [])].includes("Files");
    document.addEventListener("dragover", e => {
        if (dropped(e)) {
            e.preventDefault();
            document.body.classList.add("drop");
        }
    });
    document.addEventListener("dragleave", e => e.relatedTarget || document.body.classList.remove("drop"));
    document.addEventListener("drop", e => {
        document.body.classList.remove("drop");
        if (dropped(e)) {
            e.preventDefault();
            addFiles([...e.dataTransfer.files]);
        }
    });
}

// ---- the side, settings, keys -----------------------------------------------------------------------

function side(open) {
    if (document.body.classList.toggle("side", open) === open && $("shade").hidden === !open)
        return;
    $("shade").hidden = !open;
    $("side-open").setAttribute("aria-expanded", open);
    (open ? $("side-close") : $("side-open")).focus();
}

function applyTheme() {
    document.documentElement.dataset.theme = store.settings().theme || "";
}

function settings() {
    const dialog = $("settings"), form = dialog.querySelector("form");
    $("settings-open").addEventListener("click", () => {
        for (const field of form.querySelectorAll("[name]"))
            field.value = store.settings()[field.name] ?? "";
        dialog.showModal();
    });
    form.addEventListener("input", () => {
        const s = {};
        for (const field of form.querySelectorAll("[name]"))
            if (field.value.trim() && field.validity.valid)
                s[field.name] = field.type === "number" ? Number(field.value) : field.value;
        store.saveSettings(s);
        applyTheme();
    });
    form.addEventListener("submit", e => {
        e.preventDefault();
        dialog.close();
    });
    $("export-all").addEventListener("click", () =>
        download("lar-conversations.json", "application/json", JSON.stringify(store.chats(), null, 1)));
}

function keys() {
    document.addEventListener("keydown", e => {
        if (e.key !== "Escape" || document.querySelector("dialog[open]"))
            return;
        if (document.body.classList.contains("side"))
            side(false);
        else
            stop(current.id);
    });
    $("side-open").addEventListener("click", () => side(true));
    $("side-close").addEventListener("click", () => side(false));
    $("shade").addEventListener("click", () => side(false));
    $("new").addEventListener("click", () => {
        openChat(store.newChat());
        $("text").focus();
    });
}

async function loadModels() {
    try {
        const names = await api.models();
        $("model").replaceChildren(...names.map(n => el("option", {value: n}, n)));
        const wanted = current.model || localStorage.getItem("lar.model");
        if (names.includes(wanted))
            $("model").value = wanted;
        notice(names.length ? "" : "The server has no model: start it with one.");
    } catch (e) {
        notice(e.message);
    }
}

function start() {
    api.onKeyWanted(wrong => ask({
        title: "API key", value: "", type: "password", yes: "Use it",
        text: (wrong ? "The server does not take that key. " : "This server wants a key. ") +
            "It is kept until this tab is closed.",
    }));
    applyTheme();
    box();
    settings();
    keys();
    $("model").addEventListener("change", () => localStorage.setItem("lar.model", $("model").value));
    // What another tab did. The answers that come here are written here.
    addEventListener("storage", e => {
        const id = store.changedChat(e);
        if (id === current.id && !running.has(id) && store.chat(id))
            openChat(store.chat(id));
        else
            showChats();
        applyTheme();
    });
    addEventListener("pagehide", () => {
        for (const {chat, message} of running.values()) {
            message.note = "Stopped.";
            save(chat);
        }
    });
    openChat(store.chat(sessionStorage.getItem("lar.here")) || store.newChat());
    loadModels();
    $("text").focus();
}

start();
