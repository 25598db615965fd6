"""Writes one version of a model as the server loads it: a manifest, graphs, golden scores and calibration scores."""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from density_training.scoring import (
    elbo_at_mean,
    label_log_likelihoods,
    load_graph,
    log_likelihood,
    to_levels,
    to_pictures,
)

ABSOLUTE_TOLERANCE_NATS = 1e-3
RELATIVE_TOLERANCE = 1e-6
"""A served golden score may differ from PyTorch's by absolute + relative · |score|."""

Table = dict[str, object]
GRAPHS: dict[str, dict[str, Table]] = {
    "pixelcnn": {"logits": {"file": "model.onnx", "input": "image", "output": "logits"}},
    "vae": {
        "encoder": {"file": "encoder.onnx", "input": "image", "mean": "mean", "log_variance": "log_variance"},
        "decoder": {"file": "decoder.onnx", "input": "latent", "mean": "mean", "log_scale": "log_scale"},
    },
}
"""Family → graph → its file, and the names of its inputs and outputs."""


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
    head: str
    calibration_description: str
    provenance: Table
    latent_size: int | None = None
    labels: Labels | None = None


def write_version(
    folder: Path, version: Version, golden_levels: Tensor, golden_scores: Tensor, calibration_scores: Tensor
) -> None:
    """Complete `folder`, into which the graphs were exported, and prove that they reproduce the golden scores.

    Graphs are the files in `GRAPHS`. Scores are nats, float64 [N]; the golden ones come from PyTorch, and there is one
    for each label, [N, labels], if the model is conditional. Raises `ParityError` if ONNX Runtime disagrees with them.
    """
    np.save(folder / "golden_images.npy", to_pictures(golden_levels))
    np.save(folder / "golden_scores.npy", golden_scores.double().numpy())
    np.save(folder / "calibration.npy", calibration_scores.double().numpy())
    (folder / "model.toml").write_text(_to_toml(_manifest(folder, version)))
    check_parity(folder)


class ParityError(Exception):
    """An exported graph does not reproduce the scores of the model that it was exported from."""


def check_parity(folder: Path) -> float:
    """Recompute the golden scores of a written version with ONNX Runtime; returns the largest deviation in nats."""
    golden = np.load(folder / "golden_scores.npy")
    served = served_scores(folder, to_levels(np.load(folder / "golden_images.npy"))).numpy()
    deviation = np.abs(served - golden)
    if not (deviation <= ABSOLUTE_TOLERANCE_NATS + RELATIVE_TOLERANCE * np.abs(golden)).all():
        raise ParityError(f"{folder}: golden scores deviate by up to {deviation.max():.3g} nats")
    return float(deviation.max())


def served_scores(folder: Path, levels: Tensor) -> Tensor:
    """Score uint8 images [N, C, H, W] with the graphs of a written version, as its manifest says.

    float64 nats [N], or [N, labels] of a conditional model.
    """
    manifest = tomllib.loads((folder / "model.toml").read_text())
    count = manifest["image"]["levels"]
    graphs = {key: load_graph(folder / graph["file"]) for key, graph in manifest["graphs"].items()}
    if "labels" in manifest:
        return label_log_likelihoods(graphs["logits"], levels, count, len(manifest["labels"]["names"]))
    if manifest["family"] == "vae":
        return elbo_at_mean(graphs["encoder"], graphs["decoder"], levels, count)
    return log_likelihood(graphs["logits"], levels, count, manifest["likelihood"]["head"])


def _manifest(folder: Path, version: Version) -> Table:
    graphs = {key: dict(graph) for key, graph in GRAPHS[version.family].items()}
    optional: Table = {}
    if version.latent_size is not None:
        optional["latent"] = {"size": version.latent_size}
    if version.labels is not None:
        graphs["logits"]["label"] = "label"
        optional["labels"] = {"names": version.labels.names, "prior": version.labels.prior}
    files = [graph["file"] for graph in graphs.values()]
    files += ["golden_images.npy", "golden_scores.npy", "calibration.npy"]
    return {
        "": {"name": version.name, "family": version.family, "description": version.description},
        "image": {
            "channels": version.channels,
            "height": version.height,
            "width": version.width,
            "levels": version.levels,
        },
        "input": {"scale": 1 / (version.levels - 1), "offset": 0.0},
        **{f"graphs.{key}": graph for key, graph in graphs.items()},
        **optional,
        "likelihood": {"head": version.head},
        "golden": {
            "images": "golden_images.npy",
            "scores": "golden_scores.npy",
            "absolute_tolerance": ABSOLUTE_TOLERANCE_NATS,
            "relative_tolerance": RELATIVE_TOLERANCE,
        },
        "calibration": {
            "scores": "calibration.npy",
            "statistic": "elbo_at_mean" if version.family == "vae" else "log_likelihood",
            "description": version.calibration_description,
        },
        "provenance": version.provenance,
        "sha256": {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files},
    }


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
