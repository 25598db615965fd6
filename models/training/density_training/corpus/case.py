"""A case of the corpus: graphs as somebody exports them, and what the command `import` has to make of them.

Each is a folder with graphs, some images and what PyTorch says of them; `cases.json` says how each is imported and what
has to come of it.
"""

import json
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from density_training.version import drop_metadata

HEIGHT, WIDTH = 7, 6
SIDE, LATENT, CLASSES = 8, 5, 4
Numbers = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Graph:
    """One file of a case: a module, an example of what it takes, and how it is exported."""

    module: nn.Module
    example: tuple[Tensor, ...]
    file: str = "model.onnx"
    inputs: tuple[str, ...] = ("image",)
    outputs: tuple[str, ...] = ("output",)
    dynamo: bool = False
    opset: int | None = None
    fixed: bool = False
    external: bool = False


@dataclass(frozen=True)
class Case:
    """What is imported, and what has to come of it."""

    name: str
    graphs: tuple[Graph, ...]
    family: str
    arguments: tuple[str, ...] = ()
    levels: int = 256
    shape: tuple[int, int, int] = (1, SIDE, SIDE)
    numbers: Numbers | None = None
    sampler: str | None = None
    says: tuple[str, ...] = ()
    refused: str | None = None
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Expected:
    """A line of `cases.json`."""

    name: str
    graphs: list[str]
    arguments: list[str]
    family: str
    golden: bool
    scored: bool
    tolerance: float
    sampler: str | None = None
    says: list[str] = field(default_factory=list)
    refused: str | None = None


def write_cases(folder: Path, cases: Iterable[Case]) -> None:
    """Write `<case>/…` for every case, and `cases.json`."""
    expected = []
    for case in cases:
        own = folder / case.name
        own.mkdir(parents=True, exist_ok=True)
        for graph in case.graphs:
            _export(graph, own / graph.file)
        images = _images(case)
        if case.numbers is not None:
            np.save(own / "images.npy", images.permute(0, 2, 3, 1).numpy().astype(np.uint8))
            with torch.no_grad():
                np.save(own / "numbers.npy", case.numbers(images).double().numpy())
        line = Expected(
            name=case.name,
            graphs=[graph.file for graph in case.graphs],
            arguments=list(case.arguments),
            family=case.family,
            golden=case.numbers is not None,
            scored=case.family == "pixelcnn" and case.numbers is not None,
            tolerance=case.tolerance,
            sampler=case.sampler,
            says=list(case.says),
            refused=case.refused,
        )
        expected.append({key: value for key, value in asdict(line).items() if value not in (None, [])})
    (folder / "cases.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


def _images(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, case.levels, (3, *case.shape), generator=generator)


def _export(graph: Graph, path: Path) -> None:
    module = graph.module.eval()
    example = graph.example
    # An exporter that is given no names counts; none can be told to.
    names = {f"output_{name}" if name.isdigit() else name: name for name in graph.outputs}
    options: dict[str, Any] = {}
    if not graph.fixed:
        if graph.dynamo:
            options["dynamic_shapes"] = tuple({0: torch.export.Dim("batch")} for _ in example)
        else:
            options["dynamic_axes"] = {name: {0: "batch"} for name in (*graph.inputs, *names)}
    if graph.opset is not None:
        options["opset_version"] = graph.opset
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example,
            path,
            dynamo=graph.dynamo,
            input_names=list(graph.inputs),
            output_names=list(names),
            verbose=False,
            **({"external_data": graph.external} if graph.dynamo else {}),
            **options,
        )
    model = onnx.load(path)
    drop_metadata(model)
    for value in [*model.graph.output, *model.graph.node]:
        if isinstance(value, onnx.NodeProto):
            value.output[:] = [names.get(name, name) for name in value.output]
            value.input[:] = [names.get(name, name) for name in value.input]
        else:
            value.name = names.get(value.name, value.name)
    if graph.external:
        beside = path.with_suffix(".onnx.data")
        beside.unlink(missing_ok=True)
        onnx.convert_model_to_external_data(model, location=beside.name, size_threshold=64)
        onnx.external_data_helper.write_external_data_tensors(model, str(path.parent))
    path.write_bytes(model.SerializeToString(deterministic=True))
