"""A version on disk: fixtures of the server's tests, parity with ONNX Runtime, the images that were learnt from."""

import hashlib
import re
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np
import pytest
import torch

from density_training import pixelcnn, vae
from density_training.__main__ import main
from density_training.card import layout, table
from density_training.fixtures import TinyPixelCNN
from density_training.scoring import load_graph, log_likelihood
from density_training.version import ParityError, Version, check_parity, write_version

ROOT = Path(__file__).parents[3]
COMMITTED_FIXTURES = ROOT / "tests" / "fixtures"


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixtures, made once; exporting twenty networks takes most of the time of these tests."""
    folder = tmp_path_factory.mktemp("fixtures")
    main(["fixtures", "--output", str(folder), "--threads", "1"])
    return folder


def test_fixtures_are_those_that_are_committed(fixtures: Path) -> None:
    files = sorted(file.relative_to(fixtures) for file in fixtures.rglob("*") if file.is_file())
    # Pictures are made otherwise, and records of proofs by servers that were run over the fixtures.
    others = {"images", "pillow", ".proofs"}
    committed = sorted(
        file.relative_to(COMMITTED_FIXTURES)
        for file in COMMITTED_FIXTURES.rglob("*")
        if file.is_file() and not others.intersection(file.relative_to(COMMITTED_FIXTURES).parts)
    )
    assert files == committed
    for file in files:
        made, expected = fixtures / file, COMMITTED_FIXTURES / file
        if file.suffix == ".npy":
            # Processors round otherwise, which sums of many terms and differences of equal ones enlarge.
            np.testing.assert_allclose(np.load(made), np.load(expected), rtol=1e-5, atol=1e-6)
        elif file.suffix in {".onnx", ".data"}:
            assert made.read_bytes() == expected.read_bytes(), file
        else:
            assert _without_measurements(made) == _without_measurements(expected), file


def _without_measurements(manifest: Path) -> list[str]:
    """The lines of a manifest but for the hashes of arrays and a mean of scores, whose last bits depend on the CPU."""
    return [line for line in manifest.read_text().splitlines() if not re.match(r'".*\.npy" = |test_bits_per_dim', line)]


def test_a_graph_runs_on_any_number_of_images(fixtures: Path) -> None:
    logits = load_graph(fixtures / "repository" / "tiny-rgb-pixelcnn" / "1" / "model.onnx")
    assert logits(torch.zeros(1, 3, 4, 4)).shape == (1, 8, 3, 4, 4)
    assert logits(torch.zeros(5, 3, 4, 4)).shape == (5, 8, 3, 4, 4)


def test_a_version_whose_graphs_disagree_with_its_golden_scores_is_refused(fixtures: Path) -> None:
    altered = fixtures / "repository" / "tiny-vae" / "1"
    scores = np.load(altered / "golden_scores.npy")
    np.save(altered / "golden_scores.npy", scores + 0.01)
    with pytest.raises(ParityError, match="tiny-vae"):
        check_parity(altered, vae.FAMILY)
    np.save(altered / "golden_scores.npy", scores)
    assert check_parity(altered, vae.FAMILY) < 1e-3


def test_a_version_names_the_images_that_it_learnt_from(tmp_path: Path) -> None:
    network, images = TinyPixelCNN(1, 2, 2, levels=2), torch.tensor([[[[0, 1], [1, 0]]], [[[1, 1], [0, 0]]]]).byte()
    pixelcnn.FAMILY.graphs["logits"].export(network, (torch.rand(2, 1, 2, 2),), tmp_path)
    version = Version("tiny", pixelcnn.FAMILY, "", 1, 2, 2, levels=2, provenance={}, trained_on=images)
    write_version(tmp_path, version, images, log_likelihood(network, images, 2))
    hashes = sorted(hashlib.sha256(bytes(image.flatten().tolist())).digest()[:8] for image in images)
    assert (tmp_path / "trained_on.bin").read_bytes() == b"".join(hashes)
    manifest = tomllib.loads((tmp_path / "model.toml").read_text())
    assert manifest["provenance"]["trained_on"] == "trained_on.bin"
    assert "trained_on.bin" in manifest["sha256"]


def test_graphs_are_proved_with_the_runtime_that_the_server_loads() -> None:
    (served,) = re.findall(r"^ONNXRUNTIME_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert installed_version("onnxruntime") == served


def test_cards_are_filled_to_120_columns_and_keep_tables_and_code() -> None:
    prose, code = "word " * 60, "    command " + "--option " * 20
    rows = table(("a", "b"), [("1" * 130, "2")])
    laid_out = layout(f"# Title\n{prose}\n- item {prose}\n- another\n  item\n\n\n\n{rows}\n\n{code}\n")
    lines = laid_out.splitlines()
    assert max(len(line) for line in lines if not line.startswith(("|", "    "))) <= 120
    assert "- another item" in lines
    assert rows in laid_out
    assert code in laid_out
    assert "\n\n\n" not in laid_out
    assert layout(laid_out) == laid_out
