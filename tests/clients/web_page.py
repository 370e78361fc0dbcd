#!/usr/bin/env python3
"""web_page.py BASE_URL [FOLDER] - the page of `lar serve` in a browser: chats, stops, switches model, reloads.

Needs Playwright's Python package and Debian's chromium; the server has at least one model that chats.
With a folder, pictures at phone and desktop width in both themes go there. Prints "N passed, N failed".
"""
import shutil
import sys

from playwright.sync_api import sync_playwright

passed = failed = 0


def check(what, ok, detail=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print("FAILED: %s %s" % (what, str(detail)[:300]))


MARKDOWN = """# Title\n\nA **bold** word, *one*, `code` and [a link](https://example.org/).\n
1. first\n   - within\n2. second\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n
```python\nprint("<b>hello</b>")\n```\n\n<img src=x onerror=alert(1)> [bad](javascript:alert(1))\n\n> quoted"""


def done(page):
    page.locator("#log[aria-busy=false]").wait_for(state="attached", timeout=120000)


def say(page, text):
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def settings(page, **values):
    page.get_by_role("button", name="Settings").click()
    for name, value in values.items():
        page.locator("#settings [name=%s]" % name).fill(str(value))
    page.get_by_role("button", name="Done").click()


def chats(page):
    settings(page, max_tokens=40, temperature=0, seed=1)
    say(page, "Write a short poem.")
    done(page)
    first = page.locator(".answer .markdown").last.inner_text()
    check("an answer", first and page.locator(".note.bad:visible").count() == 0, page.locator("#log").inner_text())
    check("a title", page.locator("#title").inner_text() == "Write a short poem.")
    page.set_input_files("#pick", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"The word is plum.\n"})
    page.locator("#files li").wait_for()
    say(page, "Which word?")
    done(page)
    check("a file", page.locator(".user .file summary").inner_text() == "a.txt")
    page.set_input_files("#pick", {"name": "b.bin", "mimeType": "text/plain", "buffer": b"a\0b"})
    page.locator("#notice:visible").wait_for()
    check("no binary file", "b.bin" in page.locator("#notice").inner_text())
    page.reload()
    page.locator(".answer").first.wait_for()
    check("is there after a reload", page.locator(".answer .markdown").first.inner_text() == first)


def stops(page):
    page.get_by_role("button", name="New conversation").click()
    settings(page, max_tokens=100000)
    say(page, "Count from one to a million.")
    page.locator(".answer .markdown > *").first.wait_for()
    page.keyboard.press("Escape")
    done(page)
    check("stopped", page.locator(".note").last.inner_text() in ("Stopped.", "Cut here: the limit of tokens was reached."))
    check("the focus is in the box", page.evaluate("document.activeElement.id") == "text")


def conversations(page):
    n = page.locator("#chats li").count()
    page.get_by_role("button", name="Rename").click()
    page.locator("#ask-value").fill("Another name")
    page.keyboard.press("Enter")
    check("renamed", page.locator("#title").inner_text() == "Another name")
    with page.expect_download() as wait:
        page.get_by_role("button", name="Export Another name").click()
    check("exported", wait.value.suggested_filename == "Another-name.md", wait.value.suggested_filename)
    page.get_by_role("button", name="Delete").click()
    page.locator("#ask-yes").click()
    check("deleted", page.locator("#chats li").count() == n - 1)
    names = page.locator("#model option").all_inner_texts()
    page.get_by_label("Model").select_option(names[-1])
    settings(page, max_tokens=8)
    page.get_by_role("button", name="Try again").click()
    done(page)
    check("another model", names[-1] in page.locator(".foot").last.inner_text(), names)


def renders(page):
    html = page.evaluate("""async text => {
        const {render} = await import("./markdown.js"), e = document.createElement("div");
        for (let i = 0; i <= text.length; i += 7)
            render(e, text.slice(0, i));
        render(e, text);
        return e.innerHTML;
    }""", MARKDOWN)
    for want in ("<h2>Title</h2>", "<strong>bold</strong>", "<em>one</em>", "<code>code</code>", "<td", "<blockquote>",
                 'href="https://example.org/"', "<ol><li>first<ul><li>within</li></ul></li><li>second</li></ol>",
                 "&lt;b&gt;hello&lt;/b&gt;", "&lt;img src=x", "<span>bad</span>"):
        check("Markdown: " + want, want in html, html)
    check("no script's address", "javascript:" not in html, html)
    seconds = page.evaluate("""async () => {
        const {render} = await import("./markdown.js"), t0 = performance.now();
        for (const s of ["*a ", "[", "`", "> ", "- ", "|-", "_", "[a](", "``a`", "~~x"])
            render(document.createElement("div"), s.repeat(20000));
        return (performance.now() - t0) / 1000;
    }""")
    check("hostile text takes seconds at most", seconds < 10, seconds)


def pictures(page, folder):
    page.evaluate("""text => {
        const key = Object.keys(localStorage).find(k => k.startsWith("lar.chat.")), c = JSON.parse(localStorage[key]);
        c.messages = [{role: "user", text: "Show me what you can do."},
                      {role: "assistant", text, thinking: "What can I do?", model: "tiny", tokens: 90, seconds: 2}];
        localStorage[key] = JSON.stringify(c);
    }""", MARKDOWN)
    for width, height in ((390, 844), (1280, 800), (360, 640)):
        page.set_viewport_size({"width": width, "height": height})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.reload()
            page.locator(".answer").wait_for()
            wide = page.evaluate("document.documentElement.scrollWidth")
            check("%d pixels are enough" % width, wide <= width, wide)
            if folder:
                page.screenshot(path="%s/%d-%s.png" % (folder, width, theme))
                page.get_by_role("button", name="Settings").click()
                page.screenshot(path="%s/%d-%s-settings.png" % (folder, width, theme))


def main():
    base, folder = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        wrong, hosts = [], set()
        page.on("console", lambda m: m.type == "error" and wrong.append(m.text))
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("request", lambda r: hosts.add(r.url.split("/")[2]))
        page.goto(base + "/")
        page.locator("#model option").first.wait_for(state="attached")
        for part in (chats, stops, conversations, renders):
            part(page)
        pictures(page, folder)
        check("no error in the console", not wrong, wrong)
        check("nothing from anywhere else", hosts <= {base.split("/")[2]}, hosts)
        browser.close()
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(failed > 0)


main()
