"""Any network of your own as a version that the server serves: exported right, compared, imported."""

import argparse
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from density_training.version import ParityError

TOLERANCE = 1e-4
"""Differences between PyTorch and ONNX Runtime, as a share of the largest number."""


def export(network: nn.Module, path: Path, *example: Tensor) -> None:
    """Write a graph with its weights inside and a free batch, and see that it computes what PyTorch does."""
    network = network.eval()
    torch.onnx.export(
        network,
        example,
        path,
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in example),
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    # Another size of batch than the example's: what is baked in shows.
    more = [torch.cat([part, part[:1]]) for part in example]
    with torch.no_grad():
        expected = network(*more)
    given = {value.name: part.numpy() for value, part in zip(session.get_inputs(), more, strict=True)}
    for value, actual in zip(_flat(expected), session.run(None, given), strict=True):
        off = (value - torch.from_numpy(actual)).abs().max() / value.abs().max().clamp_min(1e-6)
        if off > TOLERANCE:
            raise ParityError(f"{path.name}: ONNX Runtime differs from PyTorch by {off:.1e} of the largest number")


def _flat(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def network(place: str, weights: Path | None) -> nn.Module:
    """What `module:name` gives when it is called without arguments, with weights out of a file."""
    module, _, name = place.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    made: nn.Module = getattr(importlib.import_module(module), name)()
    if weights is not None:
        made.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return made


def example(text: str) -> Tensor:
    """Two items of the shape that `1x28x28` says; `labels` are two labels."""
    if text == "labels":
        return torch.tensor([0, 1])
    return torch.rand(2, *(int(size) for size in text.split("x")))


def run(options: argparse.Namespace) -> None:
    """Export a network of your own, compare it with PyTorch, and import it into a repository.

    What follows `--arguments` goes to `density-server import`: `--arguments --yes --input 0..1`.
    """
    pairs = dict(zip(options.networks, options.example, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, (place, shapes) in enumerate(pairs.items()):
            path = Path(folder) / f"{number}-{place.rpartition(':')[2]}.onnx"
            export(network(place, options.weights), path, *(example(text) for text in shapes.split(",")))
            files.append(str(path))
        name = options.name or options.networks[0].rpartition(":")[2].lower()
        command = [options.server, "import", *files, "--name", name, *options.arguments]
        sys.exit(subprocess.run(command, check=False).returncode)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `export`."""
    command.add_argument("networks", nargs="+", metavar="MODULE:CLASS", help="classes or functions without arguments")
    command.add_argument(
        "--example",
        nargs="+",
        required=True,
        metavar="SHAPE",
        help="of each network: 1x28x28, or 1x28x28,labels, or 16",
    )
    command.add_argument("--weights", type=Path, help="file of a state_dict; of one network only")
    command.add_argument("--name", help="name of the model")
    command.add_argument("--server", default="density-server", help="the server's binary")
    command.add_argument("--arguments", nargs=argparse.REMAINDER, default=[], help="the rest goes to the import")
