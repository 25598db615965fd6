"""Causal networks exported plainly by both exporters of PyTorch, for the tests of the compiler. Weights are random."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from density_training.corpus import attention, causal, disguised, masked, neighbours, sequences, shapes
from density_training.corpus.case import HEIGHT, WIDTH
from density_training.version import drop_metadata


def write_exports(folder: Path) -> None:
    """Write `<network>.<exporter>.onnx` for every network and both exporters."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, module, example in networks():
        _export(module, example, folder / f"{name}.dynamo.onnx", dynamo=True)
        _export(module, example, folder / f"{name}.torchscript.onnx", dynamo=False)


def networks() -> Iterator[tuple[str, nn.Module, dict[str, Tensor]]]:
    """Name, network and example inputs of each; random weights from a fixed seed."""
    grey, colour = torch.rand(2, 1, HEIGHT, WIDTH), torch.rand(2, 3, HEIGHT, WIDTH)
    label = torch.tensor([0, 1])
    makers: dict[str, tuple[Callable[[], nn.Module], dict[str, Tensor]]] = {
        "masked": (causal.MaskedStack, {"image": grey}),
        "two-stacks": (causal.TwoStacks, {"image": grey}),
        "shifted": (causal.Shifted, {"image": grey}),
        "dilated": (causal.Dilated, {"image": grey}),
        "conditional": (causal.Conditional, {"image": grey, "label": label}),
        "colour": (causal.Colour, {"image": colour}),
        "bernoulli": (causal.Bernoulli, {"image": grey}),
        "normalised": (causal.Normalised, {"image": grey}),
        "attention": (attention.Attention, {"image": grey}),
        "strided": (causal.Strided, {"image": grey}),
        "viewed": (causal.Viewed, {"image": colour}),
        "embedded": (causal.Embedded, {"image": colour}),
        "one-hot": (causal.OneHot, {"image": grey}),
        "coordinates": (causal.Coordinates, {"image": grey}),
        "assigned": (causal.Assigned, {"image": grey}),
        "half": (causal.Half, {"image": grey}),
        "deep": (causal.Deep, {"image": grey}),
        "group-normalised": (causal.GroupNormalised, {"image": grey}),
        "connected": (causal.Connected, {"image": grey}),
        "snail": (attention.Snail, {"image": grey}),
        "transformer": (attention.Transformer, {"image": grey}),
        "loosely-masked": (attention.LooselyMasked, {"image": grey}),
        "biased": (attention.Biased, {"image": grey}),
        "rotary": (attention.Rotary, {"image": grey}),
        "resized": (shapes.Resized, {"image": grey}),
        "along-pixels": (shapes.AlongPixels, {"image": grey}),
        "joined": (shapes.Joined, {"image": grey}),
        "shared-keys": (shapes.SharedKeys, {"image": grey}),
        "labelled": (shapes.Labelled, {"image": grey, "label": label}),
        "marked": (shapes.Marked, {"image": grey}),
        "unfolded": (disguised.Unfolded, {"image": grey}),
        "stacked": (disguised.Stacked, {"image": grey}),
        "axial": (disguised.Axial, {"image": grey}),
        "each-pixel": (disguised.EachPixel, {"image": grey}),
        "started": (sequences.Started, {"image": grey}),
        "started-by-label": (sequences.StartedByLabel, {"image": grey, "label": label}),
        "summed": (sequences.Summed, {"image": grey}),
        "recurrent": (sequences.Recurrent, {"image": grey}),
        "channel-by-channel": (sequences.ChannelByChannel, {"image": colour}),
        "linear-attention": (sequences.LinearAttention, {"image": grey}),
        "untrained": (masked.Untrained, {"image": grey}),
        "autoencoder": (masked.Autoencoder, {"image": grey}),
        "looped": (sequences.Looped, {"image": grey}),
        "lines-attended": (neighbours.LinesAttended, {"image": grey}),
        "neighbours-attended": (neighbours.NeighboursAttended, {"image": grey}),
        "neighbours-low": (partial(neighbours.NeighboursAttended, -1e9, inside=True), {"image": grey}),
        "neighbours-masked": (neighbours.LocallyMasked, {"image": grey}),
    }
    for seed, (name, (maker, example)) in enumerate(makers.items()):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = maker()
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.mul_(1.5)
        yield name, module.eval(), example


def _export(module: nn.Module, example: dict[str, Tensor], path: Path, *, dynamo: bool) -> None:
    """A plain call of `torch.onnx.export`, with nothing but a dynamic batch; only remarks are left out."""
    options: dict[str, Any] = (
        {"dynamic_shapes": tuple({0: torch.export.Dim("batch")} for _ in example), "external_data": False}
        if dynamo
        else {"dynamic_axes": {name: {0: "batch"} for name in (*example, "logits")}}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(example.values()),
            path,
            input_names=list(example),
            output_names=["logits"],
            dynamo=dynamo,
            verbose=False,
            **options,
        )
    graph = onnx.load(path)
    drop_metadata(graph)  # It names files of the machine at hand.
    path.write_bytes(graph.SerializeToString(deterministic=True))
