"""PyTorch module → a small, self-contained ONNX file with a dynamic batch axis."""

import logging
import warnings
from pathlib import Path

import onnx
import onnxscript.optimizer
import torch
from torch import Tensor, nn

OPSET = 18
"""The oldest operator set that the exporter of PyTorch writes without conversion."""


def export_graph(module: nn.Module, example: dict[str, Tensor], outputs: list[str], path: Path) -> None:
    """Write `module` with the named inputs and outputs; axis 0 of all of them is the symbolic axis `batch`.

    All that depends on weights alone is folded, however large: masked kernels become ordinary constants. Padding
    becomes an attribute of its convolution. Source locations and other metadata of the exporter are dropped.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=list(example),
            output_names=outputs,
            opset_version=OPSET,
            dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in example),
        )
        onnxscript.optimizer.optimize(program.model, input_size_limit=2**30, output_size_limit=2**30)
    graph = onnx.shape_inference.infer_shapes(program.model_proto)
    drop_metadata(graph)
    onnx.checker.check_model(graph, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(graph.SerializeToString(deterministic=True))


def drop_metadata(model: onnx.ModelProto) -> None:
    """Leave out source locations and other remarks of the exporter."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    graph.name = "graph"
