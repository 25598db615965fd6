"""Writes one version of a model as the server loads it: a manifest, graphs, golden scores and calibration scores."""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from density_training import wavefront
from density_training.scoring import (
    elbo_at_mean,
    label_log_likelihoods,
    label_log_probabilities,
    load_graph,
    log_likelihood,
    reconstruction_errors,
    to_levels,
    to_pictures,
)

ABSOLUTE_TOLERANCE = 1e-3
RELATIVE_TOLERANCE = 1e-6
"""A served golden score may differ from PyTorch's by absolute + relative · |score|; of a density, in nats."""

Table = dict[str, object]
GRAPHS: dict[str, dict[str, Table]] = {
    "pixelcnn": {"logits": {"file": "model.onnx", "input": "image", "output": "logits"}},
    "pixelrnn": {
        "step": {
            "file": "step.onnx",
            "states": "states",
            "levels": "levels",
            "inside": "inside",
            "row": "row",
            "column": "column",
            "state": "state",
            "output": "logits",
        },
    },
    "vae": {
        "encoder": {"file": "encoder.onnx", "input": "image", "mean": "mean", "log_variance": "log_variance"},
        "decoder": {"file": "decoder.onnx", "input": "latent", "mean": "mean", "log_scale": "log_scale"},
    },
    "autoencoder": {
        "encoder": {"file": "encoder.onnx", "input": "image", "output": "latent"},
        "decoder": {"file": "decoder.onnx", "input": "latent", "output": "image"},
    },
    "gan": {"generator": {"file": "generator.onnx", "input": "latent", "label": "label", "output": "image"}},
    "classifier": {
        "logits": {"file": "model.onnx", "input": "image", "output": "logits", "features": "features"},
    },
}
"""Family → graph → its file, and the names of its inputs and outputs."""


TRAINED_ON = "trained_on.bin"


@dataclass(frozen=True)
class Labels:
    """What labels mean, in their order, and how likely each is before anything is seen."""

    names: tuple[str, ...]
    prior: tuple[float, ...]


@dataclass(frozen=True)
class Version:
    """All that a manifest says about a model and that cannot be read off its files."""

    name: str
    family: str
    description: str
    channels: int
    height: int
    width: int
    levels: int
    head: str | None
    calibration_description: str | None
    provenance: Table
    latent_size: int | None = None
    labels: Labels | None = None
    recurrence: Table | None = None
    trained_on: Tensor | None = None
    """The training images, uint8 [N, C, H, W]: their hashes let the server refuse to calibrate with them."""


def write_version(
    folder: Path,
    version: Version,
    golden_levels: Tensor,
    golden_scores: Tensor,
    calibration_scores: Tensor | None = None,
) -> None:
    """Complete `folder`, into which the graphs were exported, and prove that they reproduce the golden scores.

    Graphs are the files in `GRAPHS`. The golden scores come from PyTorch: what `served_scores` gives for the family.
    Only a density has calibration scores. Raises `ParityError` if ONNX Runtime disagrees with the golden scores.
    """
    arrays = {"golden_images.npy": to_pictures(golden_levels), "golden_scores.npy": golden_scores.double().numpy()}
    if calibration_scores is not None:
        arrays["calibration.npy"] = calibration_scores.double().numpy()
    golden = {"images": "golden_images.npy", "scores": "golden_scores.npy"}
    _write(folder, version, arrays, golden)


def write_generator_version(folder: Path, version: Version, latent: Tensor, label: Tensor, images: Tensor) -> None:
    """`write_version` for a generator: PyTorch's images, float [G, C, H, W], of latents [G, L] and labels int64 [G]."""
    arrays = {"golden_latents.npy": latent, "golden_labels.npy": label, "golden_images.npy": images}
    golden = {"latents": "golden_latents.npy", "labels": "golden_labels.npy", "images": "golden_images.npy"}
    _write(folder, version, {name: array.numpy() for name, array in arrays.items()}, golden)


def _write(folder: Path, version: Version, arrays: dict[str, np.ndarray], golden: Table) -> None:
    for name, array in arrays.items():
        np.save(folder / name, array)
    if version.trained_on is not None:
        (folder / TRAINED_ON).write_bytes(training_hashes(version.trained_on))
    (folder / "model.toml").write_text(_to_toml(_manifest(folder, version, golden, list(arrays))))
    check_parity(folder)


def training_hashes(levels: Tensor) -> bytes:
    """The first 8 bytes of the SHA-256 of every image in uint8 [N, C, H, W], in ascending order."""
    return b"".join(sorted(hashlib.sha256(image.numpy().tobytes()).digest()[:8] for image in levels))


class ParityError(Exception):
    """An exported graph does not reproduce the scores of the model that it was exported from."""


def check_parity(folder: Path) -> float:
    """Recompute the golden scores (or images) of a written version with ONNX Runtime; returns the largest deviation."""
    manifest = tomllib.loads((folder / "model.toml").read_text())
    golden = {key: np.load(folder / file) for key, file in manifest["golden"].items() if str(file).endswith(".npy")}
    if manifest["family"] == "gan":
        generator = load_graph(folder / manifest["graphs"]["generator"]["file"])
        expected = golden["images"]
        served = generator(torch.from_numpy(golden["latents"]), torch.from_numpy(golden["labels"])).numpy()
    else:
        expected = golden["scores"]
        served = served_scores(folder, to_levels(golden["images"])).numpy()
    deviation = np.abs(served - expected)
    if not (deviation <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(expected)).all():
        raise ParityError(f"{folder}: golden scores deviate by up to {deviation.max():.3g}")
    return float(deviation.max())


def served_scores(folder: Path, levels: Tensor) -> Tensor:
    """Score uint8 images [N, C, H, W] with the graphs of a written version, as its manifest says, in float64.

    A density gives log p(x) in nats [N], or log p(x|y) [N, labels] if it is conditional; a classifier log p(y|x)
    [N, labels]; an autoencoder the squared error of its reconstruction [N].
    """
    manifest = tomllib.loads((folder / "model.toml").read_text())
    count = manifest["image"]["levels"]
    graphs = {key: load_graph(folder / graph["file"]) for key, graph in manifest["graphs"].items()}
    match manifest["family"]:
        case "vae":
            return elbo_at_mean(graphs["encoder"], graphs["decoder"], levels, count)
        case "autoencoder":
            return reconstruction_errors(graphs["encoder"], graphs["decoder"], levels, count)
        case "pixelrnn":
            return wavefront.log_likelihood(graphs["step"], levels, count, manifest["recurrence"]["state_size"])
        case "classifier":
            return label_log_probabilities(graphs["logits"], levels, count)
        case _ if "labels" in manifest:
            return label_log_likelihoods(graphs["logits"], levels, count, len(manifest["labels"]["names"]))
        case _:
            return log_likelihood(graphs["logits"], levels, count, manifest["likelihood"]["head"])


def _manifest(folder: Path, version: Version, golden: Table, arrays: list[str]) -> Table:
    graphs = {key: dict(graph) for key, graph in GRAPHS[version.family].items()}
    if version.family == "pixelcnn" and version.labels is not None:
        graphs["logits"]["label"] = "label"
    tables: Table = {
        "": {"name": version.name, "family": version.family, "description": version.description},
        "image": {
            "channels": version.channels,
            "height": version.height,
            "width": version.width,
            "levels": version.levels,
        },
        **({} if version.family == "gan" else {"input": {"scale": 1 / (version.levels - 1), "offset": 0.0}}),
        **{f"graphs.{key}": graph for key, graph in graphs.items()},
    }
    if version.latent_size is not None:
        tables["latent"] = {"size": version.latent_size}
    if version.recurrence is not None:
        tables["recurrence"] = version.recurrence
    if version.labels is not None:
        tables["labels"] = {"names": version.labels.names, "prior": version.labels.prior}
    if version.head is not None:
        tables["likelihood"] = {"head": version.head}
    tables["golden"] = golden | {
        "absolute_tolerance": ABSOLUTE_TOLERANCE,
        "relative_tolerance": RELATIVE_TOLERANCE,
    }
    if version.calibration_description is not None:
        tables["calibration"] = {
            "scores": "calibration.npy",
            "statistic": "elbo_at_mean" if version.family == "vae" else "log_likelihood",
            "description": version.calibration_description,
        }
    tables["provenance"] = dict(version.provenance)
    files = [graph["file"] for graph in graphs.values()] + arrays
    if version.trained_on is not None:
        tables["provenance"]["trained_on"] = TRAINED_ON
        files.append(TRAINED_ON)
    tables["sha256"] = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files}
    return tables


def _to_toml(tables: Table) -> str:
    """TOML of named tables of strings, numbers and tuples of them; keys with a dot in them are quoted (file names)."""
    parts = []
    for name, table in tables.items():
        lines = [f"[{name}]"] if name else []
        lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items()]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _key(key: str) -> str:
    return f'"{key}"' if "." in key else key


def _value(value: object) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    return repr(value)
