"""What each model of Fashion-MNIST says about itself, and what is the same for all: train, export, evaluate.

A model is one object, a `Model`, beside its network: the command line is made from it, and knows no model by name.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from density_training import training
from density_training.card import Report, layout
from density_training.data import CLOTHES, LABELS, LEVELS, Dataset, golden_levels
from density_training.figures import Figures, detection_figures, split_for_calibration
from density_training.scoring import bits_per_dim
from density_training.training import Progress, Recipe
from density_training.version import (
    Family,
    Graphs,
    Interpretation,
    Labels,
    Version,
    check_parity,
    read_interpretation,
    read_manifest,
    write_version,
)

REPOSITORY = Path("../repository")
CACHE = Path(".cache")
"""Where versions are exported to, and checkpoints live, seen from the folder in which commands are run."""
MONITORED_IMAGES = 1_000
"""How many images are scored after each epoch, for the log only; nothing is selected by them."""
CALIBRATION = "5,000 Fashion-MNIST test images, permutation seed 0, indices 0..5000"

Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config")
Loss = Callable[[Tensor, int], Tensor]
"""Indices of training images int64 [N], step → what is minimised."""
Exported = tuple[nn.Module, tuple[Tensor, ...]]
"""A module, and example inputs for two images."""


@dataclass(frozen=True)
class Trained(Generic[Network]):
    """What a checkpoint holds."""

    network: Network
    recipe: Recipe
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Model(ABC, Generic[Network, Config]):
    """One model of Fashion-MNIST with everything about it: network, recipe, graphs, figures and card."""

    family: ClassVar[Family]
    command: str
    """The name of the model on the command line."""
    description: str
    recipe: Recipe
    config: Config

    @abstractmethod
    def build(self, config: Config) -> Network:
        """The network before any training."""

    @abstractmethod
    def loss(self, network: Network, data: Dataset) -> Loss:
        """What is minimised."""

    @abstractmethod
    def optimisers(self, network: Network) -> list[torch.optim.Optimizer]:
        """Which together step through all weights."""

    @abstractmethod
    def monitor(self, network: Network, data: Dataset, checkpoint: Path) -> str:
        """What the log says after an epoch."""

    @abstractmethod
    def exported(self, network: Network, shape: tuple[int, int, int]) -> dict[str, Exported]:
        """The modules that are served, by the key of their graph."""

    @abstractmethod
    def complete(self, folder: Path, version: Version, network: Network, data: Dataset) -> Figures:
        """Write the version, whose graphs are in `folder`, draw the pictures of its card, and measure."""

    @abstractmethod
    def evaluate(self, data: Dataset, folder: Path) -> Figures:
        """Measure an exported version in ONNX Runtime."""

    @abstractmethod
    def card(self, report: Report) -> str:
        """The model card, in Markdown."""

    @property
    def name(self) -> str:
        """The name under which the model is served."""
        return f"fashion-mnist-{self.command}"

    def examples(self, data: Dataset) -> Tensor:
        """Indices of the training images that are trained on."""
        return torch.arange(len(data.train_images))

    def initialise(self, network: Network, checkpoint: Path) -> None:
        """Change the weights to start from, if training has not been there yet."""

    def prepare(self, network: Network, data: Dataset) -> None:
        """Change what is not learnt by steps, before the export."""

    def train(self, data: Dataset, checkpoint: Path, recipe: Recipe) -> Progress:
        """Train on the 60,000 training images, from where the checkpoint ends if there is one."""
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        network = self.build(self.config).to(memory_format=torch.channels_last)
        if not checkpoint.exists():
            self.initialise(network, checkpoint)

        def report(epoch: int) -> None:
            print(f"\nepoch {epoch}: {self.monitor(network, data, checkpoint)}", flush=True)

        return training.train(
            network, self.loss(network, data), self.optimisers(network), self.examples(data), recipe, checkpoint, report
        )

    def export(self, data: Dataset, checkpoint: Path, folder: Path) -> None:
        """Write a complete version: graphs, manifest, golden and calibration scores, pictures, model card."""
        trained = self.load(checkpoint)
        self.prepare(trained.network, data)
        for key, (module, example) in self.exported(trained.network, data.shape).items():
            self.family.graphs[key].export(module, example, folder)
        version = self.version(trained, data)
        figures = self.complete(folder, version, trained.network, data)
        report = Report(version, folder.name, trained.recipe, trained.progress, figures)
        (folder / "README.md").write_text(layout(self.card(report)))

    def load(self, checkpoint: Path) -> Trained[Network]:
        """The network of a checkpoint, ready to be used."""
        state = torch.load(checkpoint, weights_only=True)
        network = self.build(type(self.config)(**state["config"]))
        network.load_state_dict(state["model"])
        return Trained(network.eval(), Recipe(**state["recipe"]), Progress(**state["progress"]))

    def version(self, trained: Trained[Network], data: Dataset) -> Version:
        """What the manifest says; all models learnt from the 60,000 training images, and say so with their hashes."""
        channels, height, width = data.shape
        return Version(
            name=self.name,
            family=self.family,
            description=self.description,
            channels=channels,
            height=height,
            width=width,
            levels=LEVELS,
            provenance={
                "data": "Fashion-MNIST, 60,000 training images",
                "licence": "MIT",
                "command": f"python -m density_training {self.command} train {trained.recipe.as_arguments()}",
                "parameters": parameter_count(trained.network),
                "training_seconds": round(trained.progress.seconds),
            },
            trained_on=data.train_images,
        )


@dataclass(frozen=True)
class Scores:
    """What a density gives to the test images, the golden images, and the digits of MNIST if they are there."""

    test: Tensor
    golden: Tensor
    digits: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Density(Model[Network, Config]):
    """A model with a probability of an image, or a bound of it: calibrated, and measured as a detector."""

    head: ClassVar[str] = "categorical"
    golden_clothes: ClassVar[int] = CLOTHES
    quoted_figure: ClassVar[str] = "test_score_bits_per_dim"
    """The figure that the manifest gives as bits per dimension of the test images."""

    @abstractmethod
    def torch_scores(self, network: Network, levels: Tensor) -> Tensor:
        """What `Family.score` means, computed in PyTorch."""

    @abstractmethod
    def save_samples(self, graphs: Graphs, version: Version, data: Dataset, path: Path) -> None:
        """The picture of the card."""

    def evidence(self, scores: Tensor, data: Dataset) -> Tensor:
        """log p(x) in nats, from scores."""
        return scores

    def more_figures(self, graphs: Graphs, scores: Scores, data: Dataset) -> Figures:
        """What is measured besides detection."""
        return {}

    def monitor(self, network: Network, data: Dataset, checkpoint: Path) -> str:
        monitored = data.test_images[:MONITORED_IMAGES]
        bits = bits_per_dim(self.torch_scores(network, monitored), data.dimensions)
        return f"{bits:.4f} bits/dim on {len(monitored):,} test images"

    def version(self, trained: Trained[Network], data: Dataset) -> Version:
        version = super().version(trained, data)
        return replace(version, head=self.head, calibration_description=CALIBRATION)

    def complete(self, folder: Path, version: Version, network: Network, data: Dataset) -> Figures:
        graphs, golden = self.family.load(folder), golden_levels(data.test_images, self.golden_clothes)
        # PyTorch's scores: the proof of the graphs is that they reproduce them.
        scores = self._scores(graphs, version.interpretation, data, self.torch_scores(network, golden))
        figures = self._figures(graphs, scores, data)
        quoted = {"test_bits_per_dim": round(figures[self.quoted_figure], 4)}
        calibration, _ = split_for_calibration(len(scores.test))
        write_version(
            folder,
            replace(version, provenance=version.provenance | quoted),
            golden,
            scores.golden,
            self.evidence(scores.test, data)[calibration],
        )
        self.save_samples(graphs, version, data, folder / "samples.png")
        return figures

    def evaluate(self, data: Dataset, folder: Path) -> Figures:
        graphs = self.family.load(folder)
        scores = self._scores(graphs, read_interpretation(folder), data)
        return {
            "largest_golden_deviation_nats": check_parity(folder, self.family),
            **self._figures(graphs, scores, data),
        }

    def _scores(
        self, graphs: Graphs, interpretation: Interpretation, data: Dataset, golden: Tensor | None = None
    ) -> Scores:
        score = self.family.score
        assert score is not None, "a density gives a score to an image"
        if golden is None:
            golden = score(graphs, golden_levels(data.test_images, self.golden_clothes), interpretation)
        return Scores(
            test=score(graphs, data.test_images, interpretation),
            golden=golden,
            digits=None if data.digits is None else score(graphs, data.digits, interpretation),
        )

    def _figures(self, graphs: Graphs, scores: Scores, data: Dataset) -> Figures:
        digits = None if scores.digits is None else self.evidence(scores.digits, data)
        test, golden = self.evidence(scores.test, data), self.evidence(scores.golden, data)
        return self.more_figures(graphs, scores, data) | detection_figures(test, golden, digits, data.dimensions)


def parameter_count(network: nn.Module) -> int:
    """How many weights a network has."""
    return sum(parameter.numel() for parameter in network.parameters())


def counted_labels(data: Dataset) -> Labels:
    """The ten labels with the share of each among the training images as its prior."""
    shares = torch.bincount(data.train_labels, minlength=len(LABELS)).double() / len(data.train_labels)
    return Labels(names=LABELS, prior=tuple(shares.tolist()))


def published_bits_per_dim(name: str) -> float:
    """What the manifest of version 1 of another model in the repository says of the test images."""
    bits: float = read_manifest(REPOSITORY / name / "1")["provenance"]["test_bits_per_dim"]
    return bits
