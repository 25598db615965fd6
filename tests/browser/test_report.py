"""What `evaluate --output` writes, as a browser shows it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import DESKTOP, ROOT, TELEPHONE
from playwright.sync_api import Browser
from serving import BINARY

AXE = ROOT / ".runtime/browser/node/node_modules/axe-core/axe.min.js"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a density on what another one draws, with others as outliers."""
    folder = tmp_path_factory.mktemp("report")

    def run(*arguments: str | Path) -> None:
        subprocess.run([BINARY, *arguments], cwd=ROOT, check=True, capture_output=True)

    run("sample", "fashion-mnist-pixelcnn-conditional", "-n", "100", "--seed", "1", "--output", folder / "clothes")
    images = ["--data", folder / "clothes", "--outliers", f"others={ROOT / 'tests/fixtures/images'}"]
    run("evaluate", "fashion-mnist-pixelcnn", *images, "--output", folder)
    return folder / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, TELEPHONE], ids=["desktop", "telephone"])
def test_a_report_can_be_read_everywhere(browser: Browser, report: Path, scheme: str, viewport: dict) -> None:
    context = browser.new_context(color_scheme=scheme, viewport=viewport, offline=True)
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run().then(({ violations }) => violations)")
    assert not [(own["id"], [node["html"][:200] for node in own["nodes"]]) for own in found]
    wide, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= screen, wide
    order = page.evaluate("[...document.querySelectorAll('svg, table')].map(({ tagName }) => tagName.toLowerCase())")
    assert order == sorted(order), "charts first, tables after"
    assert order.count("svg") >= 3
    assert order.count("table") >= 3
    context.close()
