"""What is shown to others works: the exports of `models/README.md`, and the helper that exports any network."""

import re
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from density_training import exporting
from density_training.corpus.case import HEIGHT, WIDTH
from density_training.corpus.causal import Conditional, MaskedConv2d
from density_training.corpus.classifiers import Classifier
from density_training.corpus.vaes import Decoder, Encoder
from density_training.version import ParityError

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Resized(nn.Module):
    """A small network under the sizes that the document speaks of."""

    def __init__(self, network: nn.Module, size: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            return self.network(x[:, :, : self.size[0], : self.size[1]])
        return self.network(x[:, : self.size[0]])


class ResizedConditional(Conditional):
    """The same of a network that is given labels, too."""

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        return super().forward(image[:, :, :HEIGHT, :WIDTH], label)


def _networks(block: str) -> dict[str, nn.Module]:
    both = lambda m, v: (m, v) if "log_variance" in block else m  # noqa: E731
    scale = (lambda x: x) if "log_scale" in block else None
    decoder = Resized(Decoder(nn.Sigmoid(), scale=scale), (5,))
    if "label" in block and "[N, labels]" not in block:
        model: nn.Module = ResizedConditional()
    elif "[N, labels]" in block:
        model = Resized(Classifier(lambda _, x: x, channels=1), (8, 8))
    else:
        model = nn.Sequential(MaskedConv2d("A", 1, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 6, 1))
    return {"model": model, "encoder": Resized(Encoder(both), (8, 8)), "decoder": decoder, "generator": decoder}


def test_the_exports_of_the_readme_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What follows is for Keras, which is not among the packages of the training project.
    blocks = BLOCK.findall(README.read_text())
    keras = next(at for at, block in enumerate(blocks) if "tensorflow" in block)
    helper, *blocks = blocks[:keras]
    assert len(blocks) == 6
    monkeypatch.chdir(tmp_path)
    for folder in ("vae", "autoencoder"):
        (tmp_path / folder).mkdir()
    for block in blocks:
        names = _networks(block)
        exec(helper + block, names)
    graphs = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.onnx"))
    assert graphs == [
        "autoencoder/decoder.onnx",
        "autoencoder/encoder.onnx",
        "classifier.onnx",
        "conditional.onnx",
        "gan.onnx",
        "pixelcnn.onnx",
        "vae/decoder.onnx",
        "vae/encoder.onnx",
    ]
    assert not list(tmp_path.rglob("*.data"))


def test_the_helper_writes_a_free_batch_and_weights_inside(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    exporting.export(nn.Sequential(MaskedConv2d("A", 1, 4, 3, padding=1)), path, torch.rand(2, 1, 6, 5))
    graph = onnx.load(path, load_external_data=False).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.initializer)


class Random(nn.Module):
    """Other numbers every time."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


def test_the_helper_refuses_what_differs(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="differs from PyTorch"):
        exporting.export(Random(), tmp_path / "network.onnx", torch.rand(2, 1, 6, 5))


def test_examples_are_written_as_sizes() -> None:
    assert exporting.example("1x28x28").shape == (2, 1, 28, 28)
    assert exporting.example("labels").tolist() == [0, 1]
