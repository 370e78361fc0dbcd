// markdown.js - Markdown as DOM nodes. Text of a model becomes text nodes and elements that are
// made here, never HTML. Needs nothing.

const DEPTH = 8; // of blocks within blocks, and of emphasis

export function el(tag, attributes, ...children) {
    const e = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {}))
        if (name.startsWith("on"))
            e.addEventListener(name.slice(2), value);
        else if (value !== undefined && value !== null)
            e.setAttribute(name, value);
    e.append(...children);
    return e;
}

async function copy(text) {
    if (navigator.clipboard)
        return navigator.clipboard.writeText(text);
    // Without a secure context (http from another machine) there is only the old way.
    const area = el("textarea", {class: "unseen"});
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
}

// `text` gives what is copied, when it is wanted.
export function copyButton(label, text) {
    const b = el("button", {type: "button", class: "small"}, label);
    b.addEventListener("click", async () => {
        await copy(text()).then(() => b.textContent = "Copied", () => b.textContent = "Not copied");
        setTimeout(() => b.textContent = label, 1500);
    });
    return b;
}

// ---- within a line -------------------------------------------------------------------------------

const LINK = /!?\[((?:[^\[\]\\]|\\.)*)\]\(\s*<?([^\s<>()]*(?:\([^\s()]*\)[^\s<>()]*)*)>?(?:\s+"[^"]*")?\s*\)/y;
const BARE = /https?:\/\/[^\s<>"'`]+/y;
const TAGS = {"**": "strong", "__": "strong", "*": "em", "_": "em", "~~": "del"};

function link(url, ...children) {
    if (!/^(https?:\/\/|mailto:)/i.test(url))
        return el("span", null, ...children);
    return el("a", {href: url, target: "_blank", rel: "noopener noreferrer"}, ...children);
}

function match(regex, text, at) {
    regex.lastIndex = at;
    return regex.exec(text);
}

// A run of backticks up to the next one of the same length.
function codeSpan(text, at) {
    const run = /`+/y;
    const open = match(run, text, at)[0];
    for (let i = text.indexOf(open, at + open.length); i >= 0; i = text.indexOf(open, i)) {
        const close = match(run, text, i)[0];
        if (close.length === open.length)
            return {node: el("code", null, text.slice(at + open.length, i).replace(/^ (.*) $/s, "$1")),
                    end: i + open.length};
        i += close.length;
    }
    return {node: open, end: at + open.length};
}

// Emphasis that is open, innermost last; the first frame is the line itself.
class Frames {
    constructor() {
        this.all = [{mark: "", nodes: []}];
    }
    get top() {
        return this.all[this.all.length - 1];
    }
    add(node) {
        this.top.nodes.push(node);
    }
    drop() { // it was not closed: its mark is text
        const f = this.all.pop();
        this.top.nodes.push(f.mark, ...f.nodes);
    }
    close(mark) {
        while (this.top.mark !== mark)
            this.drop();
        const f = this.all.pop();
        this.add(el(TAGS[f.mark], null, ...f.nodes));
    }
    has(mark) {
        return this.all.some(f => f.mark === mark);
    }
    end() {
        while (this.all.length > 1)
            this.drop();
        return this.top.nodes;
    }
}

function emphasis(frames, text, at) {
    const c = text[at], before = text[at - 1] || " ";
    let n = 1;
    while (text[at + n] === c)
        n++;
    const after = text[at + n] || " ", word = /[\p{L}\p{N}]/u;
    const inWord = c === "_" && word.test(before) && word.test(after);
    const mayClose = !/\s/.test(before) && !inWord, mayOpen = !/\s/.test(after) && !inWord;
    for (let left = n; left > 0;) {
        let mark = c.repeat(Math.min(left, 2));
        if (mayClose && frames.top.mark[0] === c && frames.top.mark.length <= left)
            mark = frames.top.mark;
        if (!TAGS[mark])
            frames.add(mark);
        else if (mayClose && frames.has(mark))
            frames.close(mark);
        else if (mayOpen && frames.all.length < DEPTH)
            frames.all.push({mark, nodes: []});
        else
            frames.add(mark);
        left -= mark.length;
    }
    return at + n;
}

function inline(text, depth = 0) {
    const frames = new Frames();
    let plain = 0;
    const flush = to => plain < to && frames.add(text.slice(plain, to));
    for (let i = 0; i < text.length;) {
        const c = text[i];
        let node = null, end = 0, m;
        if (c === "\\" && /[!-/:-@[-`{-~]/.test(text[i + 1] || ""))
            [node, end] = [text[i + 1], i + 2];
        else if (c === "`")
            ({node, end} = codeSpan(text, i));
        else if ((c === "[" || c === "!") && depth < 2 && (m = match(LINK, text, i)))
            [node, end] = [link(m[2], ...inline(m[1] || m[2], depth + 1)), i + m[0].length];
        else if (c === "h" && !depth && (m = match(BARE, text, i))) {
            const url = m[0].replace(/[.,;:!?)\]*_]{1,8}$/, "");
            [node, end] = [link(url, url), i + url.length];
        } else if (c === "\n")
            [node, end] = [el("br"), i + 1];
        else if (c === "<" && (m = match(/<br ?\/?>/iy, text, i)))
            [node, end] = [el("br"), i + m[0].length];
        if (node !== null) {
            flush(i);
            frames.add(node);
            plain = i = end;
        } else if (c === "*" || c === "_" || c === "~") {
            flush(i);
            plain = i = emphasis(frames, text, i);
        } else {
            i++;
        }
    }
    flush(text.length);
    return frames.end();
}

// ---- blocks --------------------------------------------------------------------------------------

const FENCE = /^( {0,3})(`{3,}|~{3,}) *([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?: +(.*))?$/;
const RULE = /^ {0,3}(?:(?:- *){3,}|(?:\* *){3,}|(?:_ *){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:( +)|$)/;
const DIVIDER = /^ *\|? *:?-+:? *(?:\| *:?-+:? *)*\|? *$/;

const blank = line => !/\S/.test(line);
const indentOf = line => line.length - line.trimStart().length;
const isTable = (lines, i) => lines[i].includes("|") && i + 1 < lines.length &&
    lines[i + 1].includes("-") && lines[i + 1].includes("|") && DIVIDER.test(lines[i + 1]);

function kindOf(lines, i) {
    const line = lines[i];
    return FENCE.test(line) ? "fence" : HEADING.test(line) ? "heading" : RULE.test(line) ? "rule"
        : QUOTE.test(line) ? "quote" : ITEM.test(line) ? "list" : isTable(lines, i) ? "table" : "text";
}

function endOfFence(lines, i) {
    const mark = FENCE.exec(lines[i])[2];
    for (i++; i < lines.length; i++) {
        const t = lines[i].trim();
        if (t.length >= mark.length && t === mark[0].repeat(t.length))
            return i + 1;
    }
    return i;
}

function endOfList(lines, i) {
    const first = ITEM.exec(lines[i]), ordered = /\d/.test(first[2]), indent = first[1].length;
    for (i++; i < lines.length; i++) {
        if (blank(lines[i])) {
            let next = i + 1;
            while (next < lines.length && blank(lines[next]))
                next++;
            const m = next < lines.length && ITEM.exec(lines[next]);
            if (next < lines.length && (indentOf(lines[next]) >= indent + 2 ||
                                        m && /\d/.test(m[2]) === ordered))
                continue;
            return i;
        }
        const m = ITEM.exec(lines[i]);
        if (indentOf(lines[i]) >= indent + 2 || m && /\d/.test(m[2]) === ordered)
            continue;
        if (m || kindOf(lines, i) !== "text")
            return i;
    }
    return i;
}

function endOf(kind, lines, i) {
    if (kind === "fence")
        return endOfFence(lines, i);
    if (kind === "list")
        return endOfList(lines, i);
    if (kind === "heading" || kind === "rule")
        return i + 1;
    for (i++; i < lines.length && !blank(lines[i]); i++)
        if (kind === "quote" ? !QUOTE.test(lines[i])
                             : kind === "text" ? kindOf(lines, i) !== "text" : !lines[i].includes("|"))
            break;
    return i;
}

// The parts of a text: [{kind, lines}].
function split(lines) {
    const parts = [];
    for (let i = 0; i < lines.length;) {
        if (blank(lines[i])) {
            i++;
            continue;
        }
        const kind = kindOf(lines, i), end = endOf(kind, lines, i);
        parts.push({kind, lines: lines.slice(i, end)});
        i = end;
    }
    return parts;
}

function fenceParts(lines) {
    const m = FENCE.exec(lines[0]);
    const last = lines.length > 1 ? lines[lines.length - 1].trim() : "";
    const closed = last.length >= m[2].length && last === m[2][0].repeat(last.length);
    const body = lines.slice(1, closed ? -1 : undefined);
    const strip = new RegExp(`^ {0,${m[1].length}}`);
    return {language: m[3].trim().split(/\s/)[0], code: body.map(l => l.replace(strip, "")).join("\n")};
}

function fence(lines) {
    const {language, code} = fenceParts(lines), node = el("code", null, code);
    return el("figure", {class: "code", "data-language": language},
              el("figcaption", null, el("span", null, language || "text"),
                 copyButton("Copy", () => node.textContent)),
              el("pre", {tabindex: 0, "aria-label": `Code${language ? ", " + language : ""}`}, node));
}

function cells(line) {
    return line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "").split(/(?<!\\)\|/)
        .map(c => c.trim().replaceAll("\\|", "|"));
}

function table(lines) {
    const align = cells(lines[1]).map(c => c.endsWith(":") ? c.startsWith(":") ? "center" : "right" : null);
    const row = (tag, line) => el("tr", null, ...cells(line).slice(0, align.length).map((c, i) =>
        el(tag, {"data-align": align[i]}, ...inline(c))));
    return el("div", {class: "table", tabindex: 0, role: "region", "aria-label": "Table"},
              el("table", null, el("thead", null, row("th", lines[0])),
                 el("tbody", null, ...lines.slice(2).map(l => row("td", l)))));
}

function list(lines, depth) {
    const first = ITEM.exec(lines[0]), ordered = /\d/.test(first[2]), items = [];
    let width = 0;
    for (const line of lines) {
        const m = ITEM.exec(line);
        if (m && m[1].length < first[1].length + 2 && /\d/.test(m[2]) === ordered) {
            const space = (m[3] || " ").length;
            width = m[1].length + m[2].length + (space > 4 ? 1 : space);
            items.push([line.slice(width)]);
        } else {
            items[items.length - 1].push(line.slice(Math.min(indentOf(line), width)));
        }
    }
    const start = ordered ? parseInt(first[2], 10) : 1;
    return el(ordered ? "ol" : "ul", {start: start === 1 ? null : start}, ...items.map(item => {
        const nodes = blocks(item, depth + 1), tight = !item.some(blank);
        const lone = tight && nodes[0] && nodes[0].tagName === "P";
        return el("li", null, ...(lone ? [...nodes[0].childNodes, ...nodes.slice(1)] : nodes));
    }));
}

function build({kind, lines}, depth) {
    switch (kind) {
    case "fence":
        return fence(lines);
    case "heading": {
        const m = HEADING.exec(lines[0]); // below the page's own h1
        return el("h" + Math.min(m[1].length + 1, 6), null, ...inline((m[2] || "").replace(/ #+ *$/, "")));
    }
    case "rule":
        return el("hr");
    case "quote":
        return el("blockquote", null, ...blocks(lines.map(l => l.replace(QUOTE, "")), depth + 1));
    case "list":
        return list(lines, depth);
    case "table":
        return table(lines);
    }
    return el("p", null, ...inline(lines.map(l => l.trim()).join("\n")));
}

function blocks(lines, depth) {
    if (depth > DEPTH)
        return [el("p", null, lines.join("\n"))];
    return split(lines).map(part => build(part, depth));
}

// Make `parent` show the text. What has not changed since the last call stays as it is, so that a
// text that grows costs what its last block costs, and keeps the reader's selection.
export function render(parent, text) {
    const parts = split(text.split(/\r?\n/));
    parts.forEach((part, i) => {
        const source = part.lines.join("\n"), old = parent.children[i];
        if (old && old.source === source)
            return;
        if (old && old.kind === "fence" && part.kind === "fence" &&
            old.dataset.language === fenceParts(part.lines).language) {
            old.querySelector("code").textContent = fenceParts(part.lines).code;
            old.source = source;
            return;
        }
        const node = build(part, 0);
        node.kind = part.kind;
        node.source = source;
        if (old)
            old.replaceWith(node);
        else
            parent.append(node);
    });
    while (parent.children.length > parts.length)
        parent.lastChild.remove();
}
