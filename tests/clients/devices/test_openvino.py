"""The real binary through OpenVINO, at full precision and at less, beside the same library's own kernels."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from serving import BINARY, ROOT, Server, serving

REPOSITORY = ROOT / "models/repository"
LIBRARY = ROOT / ".runtime/openvino"
MODEL = "fashion-mnist-pixelcnn"
NPY = "application/x-npy"
F32 = ("--device", "openvino")
BF16 = (*F32, "--precision", "bf16")
#: The same library at the reference: what was computed there is read elsewhere.
REFERENCE = ("--onnxruntime", str(LIBRARY))

INFO = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
needs_bf16 = pytest.mark.skipif(
    "avx512_bf16" not in INFO and "amx_bf16" not in INFO, reason="this processor has no bf16"
)


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one model, which declares how far it may move at bf16."""
    repository = tmp_path_factory.mktemp("repository")
    shutil.copytree(REPOSITORY / MODEL, repository / MODEL)
    manifest = repository / MODEL / "1/model.toml"
    text = manifest.read_text()
    assert "bf16_tolerance" not in text
    manifest.write_text(text.replace("[golden]\n", "[golden]\nbf16_tolerance = 50.0\n"))
    return repository


def check(*arguments: str) -> tuple[int, dict]:
    """What the load gate says of a model."""
    done = subprocess.run(
        [BINARY, "check", *arguments, "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {"reason": done.stderr}


def images() -> np.ndarray:
    """The golden images, [N, H, W]."""
    return np.load(REPOSITORY / MODEL / "1/golden_images.npy")


def asked(server: Server, operation: str, form: str = "application/json", **body: object) -> httpx.Response:
    """The answer of an operation."""
    url = f"http://{server.http}/v1/models/{MODEL}/{operation}"
    answer = httpx.post(url, json=body, headers={"accept": form}, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer


def pixels(levels: np.ndarray) -> list[dict]:
    """Images as JSON."""
    return [{"pixels": image[:, :, None].tolist()} for image in levels]


def array(answer: httpx.Response) -> np.ndarray:
    """The array of an answer."""
    return np.load(io.BytesIO(answer.content))


def scores(server: Server, levels: np.ndarray) -> list[float]:
    """Log-likelihoods in nats."""
    answer = asked(server, "score", images=pixels(levels)).json()
    return [item["log_likelihood"] for item in answer["results"]]


@pytest.fixture(scope="module")
def reference(declared: Path) -> Iterator[Server]:
    with serving(declared, *REFERENCE) as server:
        yield server


@pytest.fixture(scope="module")
def lower(declared: Path) -> Iterator[Server]:
    with serving(declared, *BF16) as server:
        yield server


def test_a_library_without_the_device_is_refused_with_the_cure() -> None:
    status, told = check(MODEL, *F32, "--onnxruntime", str(ROOT / ".runtime"))
    assert status != 0
    for part in ("--device openvino", "offers cpu", "make runtime DEVICE=openvino"):
        assert part in told["reason"], told


def test_full_precision_reproduces_the_golden_numbers_and_judges_nothing_that_was_calibrated_elsewhere() -> None:
    status, told = check(MODEL, *F32)
    assert status == 0, told
    assert told["computed"]["device"] == "openvino"
    assert told["computed"]["precision"] == "f32"
    (change,) = told["computed"]["changes"]
    assert 0 <= change["mean"] <= change["largest"] < 0.01
    can = {own["name"]: own for own in told["capabilities"]}
    assert can["sample"]["available"]
    assert can["compress"]["available"]
    assert not can["detect"]["available"]
    for part in ("--device cpu --precision f32", "new-calibration"):
        assert part in can["detect"]["reason"]


def test_a_detector_refuses_to_judge_where_it_was_not_calibrated() -> None:
    status, told = check("fashion-mnist-gate", *F32)
    assert status != 0
    for part in ("calibrated on cpu f32", "openvino f32", "--device cpu --precision f32", "calibrate"):
        assert part in told["reason"], told


@needs_bf16
def test_lower_precision_must_be_declared() -> None:
    status, told = check(MODEL, *BF16)
    assert status != 0
    for part in ("golden scores move by", "nats", "bf16_tolerance", "--precision f32"):
        assert part in told["reason"], told


@needs_bf16
def test_what_is_declared_is_served_and_told(declared: Path, lower: Server, reference: Server) -> None:
    levels = images()
    exact, moved = scores(reference, levels), scores(lower, levels)
    differences = np.abs(np.array(exact) - np.array(moved))
    one = {"images": pixels(levels[:1])}
    answer = asked(lower, "score", **one).json()
    assert (answer["bound"], answer["precision"]) == ("exact", "bf16")
    assert asked(reference, "score", **one).json()["precision"] == "f32"
    told = httpx.get(f"http://{lower.http}/v1/models/{MODEL}").json()["computed"]
    (change,) = told["changes"]
    assert change["largest"] == pytest.approx(differences.max(), rel=1e-3)
    assert change["mean"] == pytest.approx(differences.mean(), rel=1e-3)
    ready = httpx.get(f"http://{lower.http}/readyz").json()
    assert any("bf16 on openvino" in weakness for weakness in ready["weaknesses"]), ready
    assert check(str(declared / MODEL), *BF16)[0] == 0


@needs_bf16
def test_an_image_has_the_same_bits_in_every_company(lower: Server) -> None:
    levels = images()
    alone = [scores(lower, levels[index : index + 1])[0] for index in range(len(levels))]
    for size in (2, 3, 7, len(levels)):
        assert scores(lower, levels[:size]) == alone[:size]


@needs_bf16
def test_seeds_and_streams_are_those_of_the_reference(lower: Server, reference: Server) -> None:
    drawn = [array(asked(server, "sample", NPY, n=1, seed=7)) for server in (lower, reference)]
    assert np.array_equal(*drawn)
    levels = images()[:2]
    body = {"images": pixels(levels)}
    streams = [asked(server, "compress", **body).json()["results"] for server in (lower, reference)]
    assert streams[0] == streams[1]
    back = asked(lower, "decompress", NPY, streams=[own["stream"] for own in streams[1]])
    assert np.array_equal(array(back).reshape(levels.shape), levels)
