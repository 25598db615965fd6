"""Every model from nothing to a proved version by its commands, as the README names them, on a handful of images."""

import gzip
import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from density_training import data, diversity
from density_training.__main__ import MODELS, main
from small import configs, gradients

SMALL_MODELS = tuple(replace(model, config=configs(256, 10)[model.command]) for model in MODELS)
NEEDS = {"pixelcnn-conditional": ["pixelcnn"], "pixelrnn": ["pixelcnn"], "gan": ["classifier", "vae", "pixelrnn"]}
"""Whose checkpoint a training starts from, and whose versions a card compares with."""
JUDGED = 20


class Project:
    """A folder beside a repository, with idx files that stand for Fashion-MNIST and MNIST."""

    def __init__(self, root: Path) -> None:
        self.repository = root / "repository"
        self.files = root / "files"

    def run(self, *arguments: str) -> None:
        """Run a command, in the folder that is current."""
        main([*arguments, "--threads", "1", "--data", str(self.files)], SMALL_MODELS)

    def version(self, command: str) -> Path:
        """The exported version of a model, and before it of all that it needs."""
        folder = self.repository / f"fashion-mnist-{command}" / "1"
        if not folder.exists():
            for needed in NEEDS.get(command, []):
                self.version(needed)
            self.run(command, "train", "--steps", "5", "--decay-steps", "2", "--batch", "16")
            self.run(command, "export", "--mnist", str(self.files / "mnist"))
        return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose data are accepted although they are not the published ones."""
    root = tmp_path_factory.mktemp("root")
    project = Project(root)
    images, labels = gradients(64, 256, 10)
    pictures, digits = images[:, 0].numpy(), 255 - images[:, 0].numpy()
    files = project.files
    with pytest.MonkeyPatch.context() as patch:
        splits = {"train": (slice(0, 64), "train"), "test": (slice(0, 40), "t10k")}
        patch.setattr(
            data,
            "FASHION_MNIST",
            {
                key: write_idx(files / f"{name}-images-idx3-ubyte", pictures[part])
                for key, (part, name) in splits.items()
            },
        )
        patch.setattr(
            data,
            "FASHION_MNIST_LABELS",
            {
                key: write_idx(files / f"{name}-labels-idx1-ubyte", labels.numpy()[part])
                for key, (part, name) in splits.items()
            },
        )
        patch.setattr(data, "MNIST", {"test": write_idx(files / "mnist" / "t10k-images-idx3-ubyte", digits[:20])})
        patch.setattr(diversity, "JUDGED", JUDGED)
        patch.setattr(diversity, "PART", 8)
        (root / "training").mkdir()
        patch.chdir(root / "training")
        for name in diversity.DRAWN_BY_THE_SERVER:
            (diversity.DRAWS / name).mkdir(parents=True)
            np.save(diversity.DRAWS / name / "all.npy", pictures[:JUDGED])
        yield project


def write_idx(path: Path, array: np.ndarray) -> tuple[str, str]:
    """Write a gzipped idx file; returns its name and the SHA-256 of its content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
    return path.name, hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("command", [model.command for model in MODELS])
def test_a_model_is_trained_exported_and_measured_by_its_commands(
    project: Project, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.version(command)
    manifest = tomllib.loads((folder / "model.toml").read_text())
    assert manifest["name"] == f"fashion-mnist-{command}"
    assert manifest["provenance"]["command"] == (
        f"python -m density_training {command} train --steps 5 --decay-steps 2 --batch 16 --seed 0"
    )
    for file, expected in manifest["sha256"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == expected
    assert len((folder / "trained_on.bin").read_bytes()) == 8 * 64

    capsys.readouterr()
    project.run(command, "evaluate", "--mnist", str(project.files / "mnist"))
    figures = json.loads(capsys.readouterr().out)
    deviation = next(value for name, value in figures.items() if name.startswith("largest_golden_deviation"))
    assert deviation < 1e-3
    if "likelihood" in manifest:
        assert figures["test_images"] == 40
        assert manifest["provenance"]["test_bits_per_dim"] > 0
        assert len(np.load(folder / "calibration.npy")) == 20

    card = (folder / "README.md").read_text()
    assert card.startswith(f"# fashion-mnist-{command}, version 1\n")
    assert f"python -m density_training {command} evaluate" in card
    pictures = [line.split("](")[1].removesuffix(")") for line in card.splitlines() if line.startswith("![")]
    assert all((folder / picture).exists() for picture in pictures)


def test_draws_of_all_models_are_compared(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.version("gan")
    capsys.readouterr()
    project.run("diversity")
    rows = capsys.readouterr().out.strip().splitlines()
    assert rows[0].startswith("| images | distance | T-shirt |")
    assert len(rows) == 2 + 9
    assert all(sum(int(cell) for cell in row.split("|")[3:-1]) in (JUDGED, 40, 64) for row in rows[3:])


def test_what_is_missing_is_named_in_one_line(project: Project, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="dataset-fashion-mnist"):
        main(["vae", "train", "--data", str(tmp_path)], SMALL_MODELS)
    with pytest.raises(SystemExit, match=r"nowhere\.pt"):
        project.run("vae", "export", "--checkpoint", "nowhere.pt")
