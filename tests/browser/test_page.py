"""The page at /, tab by tab, against the real server."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT, Visits
from playwright.sync_api import Page, expect
from serving import BINARY, serving

SHOE = ROOT / "tests/fixtures/images/shoe.png"
NOISE = ROOT / "tests/fixtures/images/noise.png"


def choose(page: Page, file: Path) -> None:
    page.set_input_files("#file", file)
    expect(page.locator("#seen-note")).to_contain_text(file.name)


def ask(server: str, path: str, body: dict) -> dict:
    request = urllib.request.Request(
        f"http://{server}/v1/models/{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def file_of(path: Path) -> dict:
    return {"images": [{"base64": base64.b64encode(path.read_bytes()).decode()}]}


def test_programs_get_json_and_browsers_a_page(server: str) -> None:
    def get(accept: str | None) -> tuple[str, bytes]:
        headers = {"accept": accept} if accept else {}
        with urllib.request.urlopen(urllib.request.Request(f"http://{server}/", headers=headers)) as answer:
            assert answer.headers["vary"] == "accept"
            return answer.headers["content-type"], answer.read()

    for accept in [None, "*/*", "application/json"]:
        kind, body = get(accept)
        assert kind == "application/json"
        assert json.loads(body)["links"]["docs"] == "docs/"
    kind, body = get("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
    assert kind.startswith("text/html")
    assert body.startswith(b"<!doctype html>")


def test_judge_says_what_the_api_says(visit: Visits, server: str) -> None:
    page = visit()
    page.select_option("#judge .model", "fashion-mnist-pixelcnn/1")
    choose(page, SHOE)
    [wanted] = ask(server, "fashion-mnist-pixelcnn/score", file_of(SHOE))["results"]
    facts = page.locator("#judge .facts")
    expect(facts.nth(1)).to_contain_text(f"{wanted['log_likelihood']:,.1f} nats".replace("-", "−"))
    expect(facts.nth(1)).to_contain_text(f"{wanted['bits_per_dim']:.3f}")
    expect(page.locator(".verdict h2")).to_have_text("Accepted")
    chart = page.locator(".verdict svg")
    expect(chart).to_have_attribute("aria-label", re.compile("5000 calibration scores; this image: −1,049.7"))
    assert chart.locator(".bar").count() >= 12
    assert chart.locator(".threshold").count() == 2, "a likelihood is strange on both sides"
    choose(page, NOISE)
    expect(page.locator(".verdict h2")).to_have_text("Rejected")


def test_the_rate_decides_and_can_be_certified(visit: Visits, server: str) -> None:
    page = visit()
    page.select_option("#judge .model", "fashion-mnist-gate/1")
    choose(page, SHOE)
    [verdict] = ask(server, "fashion-mnist-gate/detect", file_of(SHOE))["results"]
    assert 0.5 < verdict["p_value"] < 0.9
    expect(page.locator(".verdict h2")).to_have_text("Accepted")
    page.focus("#rate")
    page.keyboard.press("End")
    expect(page.locator("#rate-value")).to_have_text("90 %")
    expect(page.locator(".verdict h2")).to_have_text("Rejected")
    page.keyboard.press("Home")
    expect(page.locator(".verdict h2")).to_have_text("Accepted")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".verdict .facts")).to_contain_text("0.0100")
    page.check("#certify")
    expect(page.locator(".verdict .facts")).to_contain_text("certified with 95 % confidence")
    options = "confidence=0.95&false_alarm_rate=0.01"
    [certified] = ask(server, f"fashion-mnist-gate/detect?{options}", file_of(SHOE))["results"]
    expect(page.locator(".verdict .facts")).to_contain_text(f"{certified['threshold']:.4f}")
    rows = page.locator("#judge tbody tr")
    assert rows.count() == len(verdict["statistics"])
    # What speaks against the image lies over it, as strongly as is wished.
    layer = page.locator(".overlay .pixels").nth(1)
    page.locator(".overlay + label input").fill("20")
    assert layer.evaluate("layer => layer.style.opacity") == "0.2"


def test_a_composite_names_a_label_or_says_why_not(visit: Visits) -> None:
    page = visit()
    page.select_option("#judge .model", "fashion-mnist-bayes/1")
    choose(page, SHOE)
    expect(page.locator("#judge")).to_contain_text("Label: ankle boot")
    expect(page.locator("#judge .facts").last).to_contain_text("novelty")
    choose(page, NOISE)
    expect(page.locator("#judge")).to_contain_text("None of these")


def test_the_command_does_the_same(visit: Visits, tmp_path: Path) -> None:
    page = visit()
    choose(page, SHOE)
    page.click("#source summary")
    with page.expect_download() as download:
        page.click("#save-seen")
    assert download.value.suggested_filename == "image.png"
    download.value.save_as(tmp_path / "image.png")
    page.click("#judge .command summary")
    for command in page.locator("#judge .commands code").all_inner_texts():
        done = subprocess.run(command, shell=True, check=True, capture_output=True, cwd=tmp_path)
        [result] = json.loads(done.stdout)["results"]
        likelihood = result.get("log_likelihood") or result["statistics"]["log_likelihood"]["value"]
        assert round(likelihood, 2) == -1049.74, command


def test_an_image_comes_from_anywhere(visit: Visits) -> None:
    page = visit()
    note = page.locator("#seen-note")
    expect(note).to_contain_text("sample 1")
    page.click("#samples .tile[title=stripes]")
    expect(note).to_contain_text("stripes")
    page.click("#use-random")
    expect(note).to_contain_text("sample 1")
    encoded = base64.b64encode(SHOE.read_bytes()).decode()
    give = f"""(name) => {{
        const bytes = Uint8Array.from(atob("{encoded}"), (letter) => letter.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], `${{name}}.png`, {{ type: "image/png" }}));
        document.dispatchEvent(name === "dropped" ? new DragEvent("drop", {{ dataTransfer: data, cancelable: true }})
            : new ClipboardEvent("paste", {{ clipboardData: data }}));
    }}"""
    for name in ["dropped", "pasted"]:
        page.evaluate(give, name)
        expect(note).to_contain_text(f"{name}.png")
    page.click("#use-camera")
    page.click("text=Take the picture")
    expect(note).to_contain_text("the photograph, as the model sees it: 28 × 28, which this page made of")
    page.click("#use-pad")
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 120, steps=5)
    page.mouse.up()
    expect(note).to_contain_text("what you drew")
    light = (
        "canvas => Math.max(...canvas.getContext('2d').getImageData(0, 0, 28, 28).data.filter((_, i) => i % 4 === 0))"
    )
    assert page.locator("#seen").evaluate(light) > 200
    page.set_input_files("#file", ROOT / "Cargo.toml")
    expect(note).to_contain_text("Cargo.toml is not an image that this browser can read.")


def test_images_are_drawn_row_by_row(visit: Visits) -> None:
    page = visit("/#draw")
    page.evaluate("""() => {
        window.seen = new Set();
        new MutationObserver(() => {
            for (const { ariaLabel } of document.querySelectorAll("#draw .results .pixels")) window.seen.add(ariaLabel);
        }).observe(document.querySelector("#draw .results"), { childList: true, subtree: true });
    }""")
    page.fill("#draw [name=n]", "6")
    page.fill("#draw [name=seed]", "1")
    page.click("#draw .primary")
    tiles = page.locator("#draw figure .tile")
    expect(tiles).to_have_count(6)
    expect(page.locator("#draw .results")).to_contain_text("Drawn with the seed 1.")
    seen = page.evaluate("[...window.seen]")
    assert any(re.fullmatch(r"Image \d, \d+ of 28 rows", label or "") for label in seen), seen
    # The same seed is the same images; one of them is judged, completed, saved.
    tiles.nth(2).click()
    with page.expect_download() as download:
        page.click("#chosen [data-save]")
    assert download.value.suggested_filename.endswith(".png")
    page.click("#chosen [data-go=judge]")
    expect(page.locator("#seen-note")).to_contain_text("image 3 of fashion-mnist-pixelcnn, seed 1")
    expect(page.locator(".verdict")).to_be_visible()


def test_a_label_is_asked_for_by_name(visit: Visits) -> None:
    page = visit("/#draw")
    page.select_option("#draw .model", "fashion-mnist-pixelcnn-conditional/1")
    page.select_option("#draw [name=label]", "sandal")
    page.fill("#draw [name=n]", "2")
    page.click("#draw .primary")
    expect(page.locator("#draw figcaption")).to_have_text(["sandal", "sandal"])


def test_long_work_can_be_cancelled(visit: Visits) -> None:
    page = visit("/#draw")
    page.select_option("#draw .model", "fashion-mnist-pixelrnn/1")
    page.fill("#draw [name=n]", "64")
    page.click("#draw .primary")
    expect(page.locator("#draw progress")).to_be_visible()
    page.click("#draw .working button")
    expect(page.locator("#draw .said")).to_have_text("Cancelled.")
    expect(page.locator("#draw .working")).to_be_hidden()
    # The server hears of it and stops: what is in flight is the question for it.
    page.wait_for_function("""async () => {
        const metrics = await (await fetch("metrics")).text();
        return metrics.includes("density_http_requests_in_flight 1\\n");
    }""")


def test_errors_are_sentences(visit: Visits) -> None:
    visit.expected = ["status of 413", "status of 422"]
    page = visit("/#draw")
    page.evaluate("document.querySelector('#draw form').noValidate = true")
    page.fill("#draw [name=n]", "100000")
    page.click("#draw .primary")
    said = page.locator("#draw .said")
    expect(said).to_have_text(re.compile(r"^100000 images to draw in one request; at most \d+ are allowed\.$"))
    page.fill("#draw [name=n]", "1")
    page.fill("#draw [name=seed]", "-1")
    page.click("#draw .primary")
    expect(said).to_have_text("Seed: -1 is not at least 0.")
    assert "{" not in said.inner_text()


def test_what_is_rubbed_out_is_completed_eight_ways(visit: Visits, server: str) -> None:
    page = visit("/#complete")
    choose(page, SHOE)
    page.click("#complete .primary")
    expect(page.locator("#complete figure .tile")).to_have_count(8)
    expect(page.locator("#complete .results")).to_contain_text("Exact: drawn from p(missing | given).")
    page.click("#unmask")
    page.click("#complete .primary")
    expect(page.locator("#complete .said")).to_have_text("Nothing is missing: rub something out first.")
    box = page.locator("#mask").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 90, steps=4)
    page.mouse.up()
    expect(page.locator("#complete output[name=kept]")).to_have_text("drawn")
    page.click("#complete .primary")
    expect(page.locator("#complete .results")).to_contain_text("Approximate: drawn in the model's order")
    expect(page.locator("#complete figure .tile")).to_have_count(8)


def test_codes_are_walked_and_changed(visit: Visits) -> None:
    page = visit("/#codes")
    picture = "canvas => canvas.toDataURL()"
    way = page.locator("#codes .three .stage .pixels")
    middle = way.evaluate(picture)
    page.locator("#way").fill("100")
    end = way.evaluate(picture)
    assert middle != end
    page.click("#end-1")
    choose(page, SHOE)
    other = "document.querySelector('#codes .three .stage .pixels').toDataURL()"
    page.wait_for_function(f"end => {other} !== end", arg=end)
    expect(way).to_have_attribute("aria-label", "100 % of the way")
    expect(page.locator("#codes")).to_contain_text(re.compile(r"Mean squared error 0\.0\d+"))
    changed = page.locator("#codes .split .stage .pixels")
    before = changed.evaluate(picture)
    page.locator("#codes .bank input").nth(3).fill("3.5")
    now = "document.querySelector('#codes .split .pixels').toDataURL()"
    page.wait_for_function(f"before => {now} !== before", arg=before)
    page.click("text=As it was")
    page.wait_for_function(f"before => {now} === before", arg=before)


def test_families_are_compared_and_say_why_not(visit: Visits) -> None:
    page = visit("/#compare")
    choose(page, SHOE)
    cards = page.locator("#compare .results .card")
    gan = cards.filter(has=page.get_by_role("heading", name="fashion-mnist-gan", exact=True))
    expect(gan).to_contain_text("the density of a GAN is implicit: it can be drawn from but not evaluated")
    own = cards.filter(has=page.get_by_role("heading", name="fashion-mnist-pixelcnn", exact=True))
    expect(own).to_contain_text("1.932 bits/dim −1,049.7 nats, exact")
    expect(page.locator("#compare .working")).to_be_hidden()
    assert cards.count() == 12


def test_a_key_is_asked_for_and_kept_for_the_window(visit: Visits, tmp_path: Path) -> None:
    repository, keys = tmp_path / "models", tmp_path / "keys.toml"
    shutil.copytree(ROOT / "tests/fixtures/repository/tiny-vae", repository / "tiny-vae")
    made = {}
    for name, scopes in [("reader", "read"), ("drawer", "read,sample")]:
        command = [BINARY, "key", name, "--scopes", scopes, "--keys", keys]
        made[name] = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    with serving(repository, "--keys", str(keys)) as server:
        address = server.http
        # Chromium writes a line for every answer of that kind.
        visit.expected += ["401", "403"]
        page = visit("/#draw", base=address, wait=False)
        expect(page.get_by_role("alert").first).to_be_visible()
        for key, said in [("no such key", "key"), (made["reader"], "sample")]:
            page.fill("#key input", key)
            page.click("#key button")
            if key == made["reader"]:
                page.wait_for_selector("body[data-ready]")
                expect(page.locator("#key")).to_be_hidden()
                page.click("#draw .primary")
            expect(page.get_by_role("alert").first).to_contain_text(said)
            expect(page.locator("#key")).to_be_visible()
        page.fill("#key input", made["drawer"])
        page.click("#key button")
        page.wait_for_selector("body[data-ready]")
        page.click("#draw .primary")
        expect(page.locator("#draw .results .tile .pixels")).to_have_count(16)
        expect(page.locator("#draw .command")).to_contain_text("authorization: Bearer $KEY")
        assert made["drawer"] not in page.content()
        # Another window is another visitor.
        other = visit("/", base=address, wait=False)
        expect(other.locator("#key")).to_be_visible()


def test_models_and_health(visit: Visits) -> None:
    page = visit("/#health")
    expect(page.locator("#health .fact")).to_have_count(5)
    model = page.locator("#health details", has_text="fashion-mnist-gate").first
    model.locator("summary").click()
    expect(model).to_contain_text("What it proved before it served")
    assert model.locator("dt").count() >= 3
    drift = page.locator("#drift-fashion-mnist-gate-1")
    expect(drift).to_contain_text("No alarm after")
    before = int(re.search(r"after (\d+) images", drift.inner_text())[1])
    page.click("#tab-judge")
    page.select_option("#judge .model", "fashion-mnist-gate/1")
    page.click("#samples .tile[title=nothing]")
    page.click("#samples .tile[title=stripes]")
    expect(page.locator("#seen-note")).to_contain_text("stripes")
    expect(page.locator(".verdict")).to_be_visible()
    page.click("#tab-health")
    expect(drift).to_contain_text(re.compile(rf"after (?!{before} )\d+ images"))
    assert drift.locator(".curve").count() == 1


@pytest.mark.parametrize("kind", ["rgb-pixelcnn", "binary-pixelcnn", "conditional-pixelcnn", "vae"])
def test_any_model_is_as_good(visit: Visits, kind: str) -> None:
    """Other sizes, channels, levels, labels, and versions without a calibration."""
    model = f"tiny-{kind}"
    page = visit()
    page.select_option("#judge .model", f"{model}/1")
    expect(page.locator("#judge .results .card").first).to_be_visible()
    choose(page, SHOE)
    expect(page.locator("#judge .facts", has_text="bits/dim")).to_be_visible()
    page.click("#tab-draw")
    page.select_option("#draw .model", f"{model}/1")
    page.fill("#draw [name=n]", "3")
    page.click("#draw .primary")
    expect(page.locator("#draw figure .tile")).to_have_count(3)
    page.click("#tab-complete")
    page.select_option("#complete .model", f"{model}/1")
    page.click("#complete .primary")
    expect(page.locator("#complete figure .tile")).to_have_count(8)
    page.click("#tab-compare")
    expect(page.locator("#compare .results h2", has_text=model)).to_be_visible()
    expect(page.locator("#compare .working")).to_be_hidden()
