"""A version of a model on disk as the server loads it: graphs, manifest, golden arrays, and the proof that they agree.

It knows no network. What is particular to a family of models is a `Family`, declared beside the network.
"""

import hashlib
import logging
import tomllib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from torch import Tensor, nn

from density_training.data import to_levels, to_pictures
from density_training.scoring import load_graph

OPSET = 18
"""The oldest operator set that the exporter of PyTorch writes without conversion."""
ABSOLUTE_TOLERANCE = 1e-3
RELATIVE_TOLERANCE = 1e-6
"""A served golden score may differ from PyTorch's by absolute + relative · |score|; of a density, in nats."""
MANIFEST, TRAINED_ON = "model.toml", "trained_on.bin"

Table = dict[str, Any]
Graphs = Mapping[str, Callable[..., Any]]
"""Networks by the key of their graph, called with tensors in order: PyTorch modules, or graphs in ONNX Runtime."""


@dataclass(frozen=True)
class Graph:
    """One exported graph: its file, its tensors by their keys in a manifest, and which of these are its outputs."""

    file: str
    tensors: dict[str, str | tuple[str, ...]]
    outputs: tuple[str, ...]

    @property
    def inputs(self) -> list[str]:
        """Names of what it takes; a list of names is one of outputs."""
        return [name for name in self.tensors.values() if isinstance(name, str) and name not in self.outputs]

    def export(self, module: nn.Module, example: tuple[Tensor, ...], folder: Path) -> None:
        """Write `module` to `folder` as a self-contained file; axis 0 of all its tensors is the axis `batch`.

        All that depends on weights alone is folded, however large: masked kernels become ordinary constants. Padding
        becomes an attribute of its convolution. Source locations and other metadata of the exporter are dropped.
        """
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                example,
                dynamo=True,
                optimize=False,
                verbose=False,
                input_names=self.inputs,
                output_names=list(self.outputs),
                opset_version=OPSET,
                dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in example),
            )
            assert program is not None, "with dynamo=True the exporter returns a program"
            onnxscript.optimizer.optimize(program.model, input_size_limit=2**30, output_size_limit=2**30)
        graph = onnx.shape_inference.infer_shapes(program.model_proto)
        drop_metadata(graph)
        onnx.checker.check_model(graph, full_check=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.file).write_bytes(graph.SerializeToString(deterministic=True))


def drop_metadata(model: onnx.ModelProto) -> None:
    """Leave out source locations and other remarks of the exporter."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    graph.name = "graph"


@dataclass(frozen=True)
class Interpretation:
    """What a manifest says, besides the graphs, of how their outputs become scores."""

    levels: int
    head: str | None = None
    labels: int = 0
    state_size: int = 0


@dataclass(frozen=True)
class Family:
    """A kind of model: the graphs that one consists of, and what score they give to an image."""

    name: str
    graphs: dict[str, Graph]
    score: Callable[[Graphs, Tensor, Interpretation], Tensor] | None
    """Scores, float64 [N] or [N, labels], of uint8 images [N, C, H, W]; nothing scores an image for a generator."""
    statistic: str | None = None
    """What the calibration scores are, as the server calls it; a family without a density has none."""
    takes_images: bool = True
    """Whether one of the graphs takes an image, for which a manifest says how levels go in."""

    def load(self, folder: Path) -> Graphs:
        """The graphs of a version in ONNX Runtime."""
        return {key: load_graph(folder / graph.file) for key, graph in self.graphs.items()}


@dataclass(frozen=True)
class Labels:
    """What labels mean, in their order, and how likely each is before anything is seen."""

    names: tuple[str, ...]
    prior: tuple[float, ...]


@dataclass(frozen=True)
class Version:
    """All that a manifest says about a model and that cannot be read off its files."""

    name: str
    family: Family
    description: str
    channels: int
    height: int
    width: int
    levels: int
    provenance: Table
    head: str | None = None
    sigma: float | None = None
    """The standard deviation of a Gaussian head that has one for all dimensions."""
    declared: Table | None = None
    """What the outputs of graphs are, where the server would ask."""
    calibration_description: str | None = None
    latent_size: int | None = None
    labels: Labels | None = None
    recurrence: Table | None = None
    notes: str | None = None
    """Ends the provenance."""
    trained_on: Iterable[Tensor] | None = None
    """The training images, uint8 [N, C, H, W] or one [C, H, W] each: their hashes let the server refuse to
    calibrate with them."""

    @property
    def interpretation(self) -> Interpretation:
        """How the outputs of the graphs become scores."""
        labels = len(self.labels.names) if self.labels else 0
        state_size = self.recurrence["state_size"] if self.recurrence else 0
        return Interpretation(self.levels, self.head, labels, state_size)


def write_version(
    folder: Path,
    version: Version,
    golden_levels: Tensor,
    golden_scores: Tensor,
    calibration_scores: Tensor | None = None,
) -> None:
    """Complete `folder`, into which the graphs were exported, and prove that they reproduce the golden scores.

    The golden scores come from PyTorch and are what `Family.score` means. Only a density has calibration scores.
    Raises `ParityError` if ONNX Runtime disagrees with the golden scores.
    """
    arrays = {"golden_images.npy": to_pictures(golden_levels), "golden_scores.npy": golden_scores.double().numpy()}
    if calibration_scores is not None:
        arrays["calibration.npy"] = calibration_scores.double().numpy()
    golden = {"images": "golden_images.npy", "scores": "golden_scores.npy"}
    write_files(folder, version, arrays, golden)
    check_parity(folder, version.family)


def write_generator_version(folder: Path, version: Version, latent: Tensor, label: Tensor, images: Tensor) -> None:
    """`write_version` for a generator: PyTorch's images, float [G, C, H, W], of latents [G, L] and labels int64 [G]."""
    arrays = {"golden_latents.npy": latent, "golden_labels.npy": label, "golden_images.npy": images}
    golden = {"latents": "golden_latents.npy", "labels": "golden_labels.npy", "images": "golden_images.npy"}
    write_files(folder, version, {name: array.numpy() for name, array in arrays.items()}, golden)
    check_parity(folder, version.family)


class ParityError(Exception):
    """An exported graph does not reproduce the scores of the model that it was exported from."""


def check_parity(folder: Path, family: Family) -> float:
    """Recompute the golden scores (or images) of a written version with ONNX Runtime; returns the largest deviation."""
    files = read_manifest(folder)["golden"]
    golden = {key: np.load(folder / file) for key, file in files.items() if str(file).endswith(".npy")}
    if family.score is None:
        (generator,) = family.load(folder).values()
        expected = golden["images"]
        served = generator(torch.from_numpy(golden["latents"]), torch.from_numpy(golden["labels"])).numpy()
    else:
        expected = golden["scores"]
        served = served_scores(folder, family, to_levels(golden["images"])).numpy()
    deviation = np.abs(served - expected)
    if not (deviation <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(expected)).all():
        raise ParityError(f"{folder}: golden scores deviate by up to {deviation.max():.3g}")
    return float(deviation.max())


def served_scores(folder: Path, family: Family, levels: Tensor) -> Tensor:
    """Score uint8 images [N, C, H, W] with the graphs of a written version, as its manifest says."""
    if family.score is None:
        raise ValueError(f"a {family.name} gives no score to an image")
    return family.score(family.load(folder), levels, read_interpretation(folder))


def read_interpretation(folder: Path) -> Interpretation:
    """What the manifest of a written version says of how outputs become scores."""
    manifest = read_manifest(folder)
    return Interpretation(
        levels=manifest["image"]["levels"],
        head=manifest.get("likelihood", {}).get("head"),
        labels=len(manifest.get("labels", {}).get("names", ())),
        state_size=manifest.get("recurrence", {}).get("state_size", 0),
    )


def read_manifest(folder: Path) -> Table:
    """The manifest of a written version."""
    return tomllib.loads((folder / MANIFEST).read_text())


def training_hashes(levels: Iterable[Tensor]) -> bytes:
    """The first 8 bytes of the SHA-256 of every image in uint8 [C, H, W], in ascending order."""
    return b"".join(sorted(hashlib.sha256(image.numpy().tobytes()).digest()[:8] for image in levels))


def write_files(folder: Path, version: Version, arrays: dict[str, np.ndarray], golden: Table) -> None:
    """The arrays and the manifest of a version, whose `[golden]` names files and nothing else."""
    for name, array in arrays.items():
        np.save(folder / name, array)
    if version.trained_on is not None:
        (folder / TRAINED_ON).write_bytes(training_hashes(version.trained_on))
    (folder / MANIFEST).write_text(_to_toml(_manifest(folder, version, golden, list(arrays))))


def _manifest(folder: Path, version: Version, golden: Table, arrays: list[str]) -> Table:
    family = version.family
    tables: Table = {
        "": {"name": version.name, "family": family.name, "description": version.description},
        "image": {
            "channels": version.channels,
            "height": version.height,
            "width": version.width,
            "levels": version.levels,
        },
    }
    if family.takes_images:
        tables["input"] = {"scale": 1 / (version.levels - 1), "offset": 0.0}
    for key, graph in family.graphs.items():
        tables[f"graphs.{key}"] = {"file": graph.file, **graph.tensors}
    if version.latent_size is not None:
        tables["latent"] = {"size": version.latent_size}
    if version.recurrence is not None:
        tables["recurrence"] = version.recurrence
    if version.labels is not None:
        tables["labels"] = {"names": version.labels.names, "prior": version.labels.prior}
    if version.head is not None:
        tables["likelihood"] = {"head": version.head} | ({} if version.sigma is None else {"sigma": version.sigma})
    if version.declared is not None:
        tables["declared"] = version.declared
    tables["golden"] = golden | {
        "absolute_tolerance": ABSOLUTE_TOLERANCE,
        "relative_tolerance": RELATIVE_TOLERANCE,
    }
    if version.calibration_description is not None:
        tables["calibration"] = {
            "scores": "calibration.npy",
            "statistic": family.statistic,
            "description": version.calibration_description,
        }
    files = [graph.file for graph in family.graphs.values()] + arrays
    tables["provenance"] = version.provenance | ({} if version.notes is None else {"notes": version.notes})
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
