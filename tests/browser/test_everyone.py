"""The page for everyone: light and dark, telephone and desktop, with a keyboard alone, with a screen reader."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import DESKTOP, ROOT, TABS, TELEPHONE, Visits
from playwright.sync_api import Page, expect

AXE = ROOT / ".runtime/browser/node/node_modules/axe-core/axe.min.js"
PREFIX = "/vision/density"


def open_tab(page: Page, tab: str) -> None:
    """Opens a tab and has it show all that it shows."""
    page.click(f"#tab-{tab}")
    if tab in {"draw", "complete"}:
        page.click(f"#{tab} .primary")
        expect(page.locator(f"#{tab} figure .tile").first).to_be_visible()
    elif tab == "judge":
        page.select_option("#judge .model", "fashion-mnist-gate/1")
        expect(page.locator("#judge table")).to_be_visible()
    else:
        expect(page.locator(f"#{tab} h2").first).to_be_visible()
    expect(page.locator(f"#{tab} .working").first).to_be_hidden()
    for summary in page.locator(f"#{tab} summary:visible").all()[:3]:
        summary.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, TELEPHONE], ids=["desktop", "telephone"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(visit: Visits, scheme: str, viewport: dict) -> None:
    page = visit(color_scheme=scheme, viewport=viewport)
    page.evaluate(AXE.read_text())
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(19, 18, 25)") == (scheme == "dark"), paper
    for tab in TABS:
        open_tab(page, tab)
        found = page.evaluate("axe.run().then(({ violations }) => violations)")
        told = [(own["id"], own["impact"], [node["html"] for node in own["nodes"]]) for own in found]
        assert not told, (tab, told)
        wide, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= screen == viewport["width"], (tab, wide)


def test_a_keyboard_is_enough(visit: Visits) -> None:
    page = visit()
    keys = page.keyboard

    def tab_until(selector: str, most: int = 60) -> None:
        for _ in range(most):
            keys.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert style != "none", f"one cannot see that {selector} has the focus"
                return
        pytest.fail(f"{selector} cannot be reached")

    tab_until("#tab-judge")
    tab_until("#use-pad")
    keys.press("Enter")
    expect(page.locator("#pad")).to_be_focused()
    keys.press(" ")
    for _ in range(8):
        keys.press("ArrowRight")
    keys.press(" ")
    expect(page.locator("#seen-note")).to_contain_text("what you drew")
    page.evaluate("document.querySelector('#tab-judge').focus()")
    keys.press("ArrowRight")
    expect(page.locator("#tab-draw")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#tab-draw")).to_be_focused()
    tab_until("#draw .primary")
    keys.press("Enter")
    expect(page.locator("#draw figure .tile").first).to_be_visible()
    tab_until("#draw figure .tile")
    keys.press("Enter")
    tab_until("[data-go=complete]")
    keys.press("Enter")
    expect(page.locator("#complete")).to_be_visible()
    tab_until("#mask")
    keys.press(" ")
    keys.press("ArrowUp")
    keys.press("ArrowUp")
    keys.press(" ")
    expect(page.locator("#complete output[name=kept]")).to_have_text("drawn")
    keys.press("Shift+Tab")
    expect(page.locator("#complete .primary")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#complete figure .tile")).to_have_count(8)
    page.evaluate("document.querySelector('#tab-complete').focus()")
    for tab in ["codes", "compare", "health", "judge"]:
        keys.press("ArrowRight")
        expect(page.locator(f"#{tab}")).to_be_visible()


@pytest.fixture
def proxy(server: str) -> Iterator[str]:
    """The address of a proxy that serves the server below a prefix, and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            if not self.path.startswith(PREFIX + "/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            connection = http.client.HTTPConnection(server, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
            connection.request(self.command, self.path[len(PREFIX) :], body, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "content-length", "connection"}:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    yield f"127.0.0.1:{listener.server_port}"
    listener.shutdown()
    thread.join()
    listener.server_close()


def test_the_page_works_behind_a_prefix(visit: Visits, proxy: str) -> None:
    page = visit(f"{PREFIX}/", base=proxy)
    for tab in TABS:
        open_tab(page, tab)
    assert PREFIX in page.locator("#judge .commands code").first.text_content()
