// store.js - conversations and settings, kept in the browser. A conversation is
// {id, title, time, model, messages: [{role, text, files?, thinking?, note?, ...}]}; each has a key
// of its own in localStorage, so that two tabs do not overwrite each other's. Needs nothing.

const CHAT = "lar.chat.", SETTINGS = "lar.settings";

function read(key) {
    try {
        return JSON.parse(localStorage.getItem(key));
    } catch {
        return null;
    }
}

const isChat = c => c && typeof c.id === "string" && Array.isArray(c.messages);

export function newChat() {
    const id = Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
    return {id, title: "", time: Date.now(), messages: []};
}

// The newest first.
export function chats() {
    return Object.keys(localStorage).filter(k => k.startsWith(CHAT)).map(read).filter(isChat)
        .sort((a, b) => b.time - a.time);
}

export function chat(id) {
    const c = read(CHAT + id);
    return isChat(c) ? c : null;
}

// False: there is no room.
export function save(c) {
    try {
        localStorage.setItem(CHAT + c.id, JSON.stringify(c));
        return true;
    } catch {
        return false;
    }
}

export function remove(id) {
    localStorage.removeItem(CHAT + id);
}

export function changedChat(event) {
    return event.key && event.key.startsWith(CHAT) ? event.key.slice(CHAT.length) : null;
}

export function settings() {
    return read(SETTINGS) || {};
}

export function saveSettings(s) {
    localStorage.setItem(SETTINGS, JSON.stringify(s));
}

export function markdown(c) {
    const parts = c.messages.map(m => {
        const files = (m.files || []).map(f => `File ${f.name}:\n\n${fenced(f.text)}\n\n`).join("");
        return `## ${m.role === "user" ? "You" : m.model || "Assistant"}\n\n${files}${m.text}\n`;
    });
    return `# ${c.title || "Conversation"}\n\n${parts.join("\n")}`;
}

// In a fence that is longer than any within.
export function fenced(text) {
    const longest = Math.max(2, ...(text.match(/`+/g) || []).map(run => run.length));
    const mark = "`".repeat(longest + 1);
    return `${mark}\n${text}\n${mark}`;
}
