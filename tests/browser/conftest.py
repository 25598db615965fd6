"""The real binary under a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from serving import serving  # noqa: E402 (its folder is no package)

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
#: Milliseconds that anything may take that a user waits for.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)

DESKTOP = {"width": 1280, "height": 900}
TELEPHONE = {"width": 360, "height": 740}
TABS = ["judge", "draw", "complete", "codes", "compare", "health"]


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed models of clothes beside tiny ones of other sizes, channels and levels."""
    folder = tmp_path_factory.mktemp("models")
    for source in [ROOT / "models/repository", ROOT / "tests/fixtures/repository"]:
        for model in filter(Path.is_dir, source.iterdir()):
            if model.name.startswith(("fashion-mnist-", "tiny-")):
                shutil.copytree(model, folder / model.name)
    return folder


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[str]:
    """The address of a server, as host:port."""
    with serving(repository) as server:
        yield server.http


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that root in a container does not have.
        arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)


class Visits:
    """Pages that were opened, and what went wrong on them."""

    def __init__(self, browser: Browser, server: str) -> None:
        self.browser, self.server = browser, server
        self.contexts = []
        self.complaints: list[str] = []
        #: Parts of complaints that a test provokes.
        self.expected: list[str] = []

    def __call__(self, path: str = "/", base: str | None = None, wait: bool = True, **context: object) -> Page:
        """Opens a page, and waits until it is ready if it is the page at /, unless told otherwise."""
        context.setdefault("viewport", DESKTOP)
        own = self.browser.new_context(**context)
        own.set_default_timeout(PATIENCE)
        self.contexts.append(own)
        page = own.new_page()
        host = base or self.server

        def look(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                self.complaints.append(message.text)

        page.on("console", look)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.watch(request.url, host))
        page.goto(f"http://{host}{path}")
        if wait and not path.startswith("/docs"):
            page.wait_for_selector("body[data-ready]")
        return page

    def watch(self, url: str, host: str) -> None:
        """Complains of requests that leave the server."""
        parts = urlsplit(url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != host:
            self.complaints.append(f"asked another host: {url}")


@pytest.fixture
def visit(browser: Browser, server: str) -> Iterator[Callable[..., Page]]:
    """Opens pages; at the end none may have complained, nor asked another host."""
    visits = Visits(browser, server)
    yield visits
    for context in visits.contexts:
        context.close()
    left = [own for own in visits.complaints if not any(part in own for part in visits.expected)]
    assert not left, left
