"""A PixelCNN of images given a label: the exact probability p(x|y), and by Bayes' rule a classifier.

The label shifts both halves of every gate, the same at all pixels (van den Oord et al., "Conditional Image Generation
with PixelCNN Decoders", 2016), and has its own bias for each row and each column, since the labels of Fashion-MNIST
differ in outline above all.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from density_training.card import (
    MUON,
    ONE_THREAD_INTERRUPTED,
    Report,
    accuracy_table,
    detection_section,
    evaluation_note,
    false_alarm_rows,
    limits_section,
    table,
    training_section,
)
from density_training.data import LABELS, LEVELS, Dataset, to_input
from density_training.figures import Figures, classification_figures
from density_training.model import (
    MONITORED_IMAGES,
    Density,
    Exported,
    Loss,
    Scores,
    Trained,
    counted_labels,
    published_bits_per_dim,
)
from density_training.pixelcnn import PixelCNN, PixelCNNConfig, muon_parameters
from density_training.sampling import sample, save_grid
from density_training.scoring import TwoInputs, bits_per_dim, categorical_log_likelihood
from density_training.training import Recipe, muon
from density_training.version import Family, Graph, Graphs, Labels, Version

START = "pixelcnn.pt"
"""The checkpoint of the unconditional network, beside that of this one."""
LEARNING_RATE_FACTOR = 0.5
"""Of the rates of the unconditional training, whose end it resumes."""
DISCRIMINATION = ((0, 10.0), (2_000, 4.0), (2_720, 1.0))
"""From which step on telling labels apart has which weight: less once they are told apart."""
SAMPLES_A_LABEL = 8


@dataclass(frozen=True)
class ConditionalPixelCNNConfig(PixelCNNConfig):
    """Sizes of a PixelCNN and the number of its labels."""

    labels: int = 10


class ConditionalPixelCNN(PixelCNN):
    """`image` [N, 1, H, W] in level/(levels−1), `label` int64 [N] → `logits` [N, levels, H, W].

    All that depends on the label starts at zero, so the weights of a `PixelCNN` are a starting point.
    """

    config: ConditionalPixelCNNConfig

    def __init__(self, config: ConditionalPixelCNNConfig = ConditionalPixelCNNConfig()) -> None:
        super().__init__(config)
        labels, channels = config.labels, config.channels
        self.label_row = nn.Parameter(torch.zeros(labels, channels, config.height, 1))
        self.label_column = nn.Parameter(torch.zeros(labels, channels, 1, config.width))
        self.label_gates = nn.ParameterList(
            nn.Parameter(torch.zeros(labels, 2 * channels, 1, 1)) for _ in range(config.blocks)
        )

    def forward(self, image: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        row, column = self.row + self.label_row, self.column + self.label_column
        first = self.first(self.features(image))
        # Of all labels' biases, those of the label that is asked for: the server compiles a table by place, and one by
        # label, but not one by both.
        one_hot = torch.eye(len(row)).view(-1, len(row), 1, 1, 1).index_select(0, label)
        x = sum(asked * (first + bias) for asked, bias in zip(one_hot.unbind(1), row + column, strict=True))
        for block, gate in zip(self.blocks, self.label_gates, strict=True):
            x = block(x, gate.index_select(0, label))
        return self.head(F.relu(self.head_hidden(F.relu(x))))


def log_likelihoods(network: ConditionalPixelCNN, levels: Tensor, label: Tensor) -> Tensor:
    """log p(x|y) in nats, float32 [N], with gradients; the network runs in bfloat16."""
    image = to_input(levels, network.config.levels).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image, label)
    logits = logits.permute(0, 2, 3, 1).reshape(-1, network.config.levels)
    nats = F.cross_entropy(logits.float(), levels.reshape(-1).long(), reduction="none")
    return -nats.view(len(levels), -1).sum(1)


class Rivals:
    """Draws a wrong label for an image, more often one that the network confuses with the right one.

    A table [labels, labels] keeps a running mean of the log loss of deciding between two labels; a rival is drawn in
    proportion to its entry, plus a little so that none is forgotten.
    """

    def __init__(self, labels: int) -> None:
        self.confusion = torch.full((labels, labels), math.log(2))

    def draw(self, label: Tensor) -> Tensor:
        """One wrong label for each right one, int64 [N]."""
        weights = (self.confusion[label] + 0.01).scatter(1, label.unsqueeze(1), 0.0)
        return torch.multinomial(weights, 1).squeeze(1)

    def record(self, label: Tensor, rival: Tensor, loss: Tensor) -> None:
        """Take the losses of deciding between these pairs of labels into the means."""
        for right, wrong, value in zip(label.tolist(), rival.tolist(), loss.tolist(), strict=True):
            self.confusion[right, wrong] += 0.05 * (value - self.confusion[right, wrong])


def contested_loss(
    network: ConditionalPixelCNN, levels: Tensor, label: Tensor, rivals: Rivals, discrimination: float
) -> Tensor:
    """Mean of −log p(x|y), plus `discrimination` times −log p(y | x, y is the label or a rival), in nats a pixel.

    The first term alone learns the density. Labels explain few of the 2,000 bits of an image, so classes would be
    learned last; the second term, taken over half of the batch, hurries them. Whatever the weights, the network is a
    normalised p(x|y).
    """
    contested = len(levels) // 2
    rival = rivals.draw(label[:contested])
    scores = log_likelihoods(network, torch.cat([levels, levels[:contested]]), torch.cat([label, rival]))
    given_label, given_rival = scores[: len(levels)], scores[len(levels) :]
    contest = F.softplus(given_rival - given_label[:contested])
    rivals.record(label[:contested], rival, contest.detach())
    return (discrimination * contest.mean() - given_label.mean()) / levels[0].numel()


@torch.no_grad()
def label_log_likelihoods(network: TwoInputs, levels: Tensor, count: int, labels: int, batch: int = 50) -> Tensor:
    """log p(x|y) in nats of uint8 images [N, C, H, W] for every label y, float64 [N, labels].

    One pass of the network a label. Log-likelihood and label prior together classify by Bayes' rule.
    """
    scores = []
    for part in tqdm(levels.split(batch), desc="labels", mininterval=5, dynamic_ncols=True):
        given = [
            categorical_log_likelihood(network(to_input(part, count), torch.full((len(part),), label)), part)
            for label in range(labels)
        ]
        scores.append(torch.stack(given, dim=1))
    return torch.cat(scores)


def joint(scores: Tensor, labels: Labels) -> Tensor:
    """log p(x, y) = log p(x|y) + log p(y) in nats, [N, labels]: its log-sum-exp over y is log p(x)."""
    return scores + torch.tensor(labels.prior).double().log()


FAMILY = Family(
    name="pixelcnn",
    graphs={
        "logits": Graph("model.onnx", {"input": "image", "output": "logits", "label": "label"}, outputs=("logits",))
    },
    score=lambda graphs, levels, manifest: label_log_likelihoods(
        graphs["logits"], levels, manifest.levels, manifest.labels
    ),
    statistic="log_likelihood",
)


@dataclass(frozen=True, kw_only=True)
class ConditionalPixelCNNModel(Density[ConditionalPixelCNN, ConditionalPixelCNNConfig]):
    """The PixelCNN given a label; its training starts from the weights of the trained `pixelcnn`."""

    family = FAMILY
    # An image has a score for every label, and every start of a server computes them all.
    golden_clothes = 1
    quoted_figure = "test_bits_per_dim_given_the_label"

    def build(self, config: ConditionalPixelCNNConfig) -> ConditionalPixelCNN:
        return ConditionalPixelCNN(config)

    def initialise(self, network: ConditionalPixelCNN, checkpoint: Path) -> None:
        start = torch.load(checkpoint.with_name(START), weights_only=True)
        labels = {name: weight for name, weight in network.state_dict().items() if name.startswith("label_")}
        network.load_state_dict(start["model"] | labels)

    def loss(self, network: ConditionalPixelCNN, data: Dataset) -> Loss:
        rivals = Rivals(network.config.labels)

        def loss(chosen: Tensor, step: int) -> Tensor:
            weight = max((start, weight) for start, weight in DISCRIMINATION if start <= step)[1]
            return contested_loss(network, data.train_images[chosen], data.train_labels[chosen], rivals, weight)

        return loss

    def optimisers(self, network: ConditionalPixelCNN) -> list[torch.optim.Optimizer]:
        return muon(network, muon_parameters(network), LEARNING_RATE_FACTOR)

    def monitor(self, network: ConditionalPixelCNN, data: Dataset, checkpoint: Path) -> str:
        images, labels = data.test_images[:MONITORED_IMAGES], data.test_labels[:MONITORED_IMAGES]
        with torch.no_grad():
            batches = zip(images.split(50), labels.split(50), strict=True)
            scores = torch.cat([log_likelihoods(network, *batch) for batch in batches])
        return f"{bits_per_dim(scores, data.dimensions):.4f} bits/dim on {len(images):,} test images"

    def exported(self, network: ConditionalPixelCNN, shape: tuple[int, int, int]) -> dict[str, Exported]:
        return {"logits": (network, (torch.rand(2, *shape), torch.tensor([0, 1])))}

    def torch_scores(self, network: ConditionalPixelCNN, levels: Tensor) -> Tensor:
        return label_log_likelihoods(network, levels, LEVELS, network.config.labels)

    def evidence(self, scores: Tensor, data: Dataset) -> Tensor:
        return joint(scores, counted_labels(data)).logsumexp(1)

    def more_figures(self, graphs: Graphs, scores: Scores, data: Dataset) -> Figures:
        """Density given the label, and decisions by Bayes' rule."""
        log_posterior = joint(scores.test, counted_labels(data)).log_softmax(1)
        given_label = scores.test.gather(1, data.test_labels.unsqueeze(1))
        return {
            self.quoted_figure: bits_per_dim(given_label, data.dimensions),
            **classification_figures(log_posterior, data.test_labels, LABELS),
        }

    def save_samples(self, graphs: Graphs, version: Version, data: Dataset, path: Path) -> None:
        def draw(label: int) -> Tensor:
            def given(image: Tensor) -> Tensor:
                logits: Tensor = graphs["logits"](image, torch.full((len(image),), label))
                return logits

            return sample(given, SAMPLES_A_LABEL, version.height, version.width, LEVELS, seed=0)

        save_grid(torch.cat([draw(label) for label in range(len(LABELS))]), SAMPLES_A_LABEL, path)

    def version(self, trained: Trained[ConditionalPixelCNN], data: Dataset) -> Version:
        notes = (
            "starts from the weights of fashion-mnist-pixelcnn; test_bits_per_dim is given the label; "
            "calibrated is log p(x) = log Σ p(x|y) p(y); "
            f"exported after {trained.progress.step:,} of {trained.recipe.steps:,} steps"
        )
        return replace(super().version(trained, data), labels=counted_labels(data), notes=notes)

    def card(self, report: Report) -> str:
        figures = report.figures
        pixelcnn = published_bits_per_dim("fashion-mnist-pixelcnn")
        evidence = f"{figures['test_score_bits_per_dim']:.4f}"
        how = f"""after those of fashion-mnist-pixelcnn, whose weights it starts from, at half its learning rates;
  {MUON}"""
        measured = [
            (
                "bits per dimension given the right label, −log₂ p(x given y) / 784",
                f"**{figures[self.quoted_figure]:.4f}**",
            ),
            ("bits per dimension of the evidence, −log₂ p(x) / 784", evidence),
            ("accuracy by Bayes' rule", f"**{figures['accuracy']:.2%}**"),
            ("log loss of the posterior", f"{figures['log_loss_nats']:.4f} nats"),
            (
                "expected calibration error of the posterior, 15 bins",
                f"{figures['expected_calibration_error']:.4f}",
            ),
            *false_alarm_rows(figures),
        ]
        detection = detection_section(figures, "log p(x)", unit="bits per dimension of p(x)", statistic="−log p(x)")
        return f"""{report.title}

A gated PixelCNN **given a label**: the exact probability p(x|y) of a 28×28 grey image with 256 levels for each of ten
kinds of clothes, and by Bayes' rule a classifier that says as well how probable the image is at all.

![Eight samples of each label](samples.png)

*Eight samples of each label, one label a row, temperature 1, seed 0, not selected.*

## Model
- The network of fashion-mnist-pixelcnn. The label adds to both halves of the gate of each of the twelve blocks a bias
  for each channel, and to the first layer a bias for each row and each column.
- {report.weights}; float32; ONNX operator set 18; inputs `image` = level / 255 and `label` int64 [N] from 0 to 9;
  output `logits` [N, 256, 28, 28].
- p(y|x) ∝ p(x|y) p(y), with p(y) counted from the training labels; p(x) = Σ p(x|y) p(y).
- References: van den Oord et al., *Conditional Image Generation with PixelCNN Decoders* (2016).

{training_section(report, how, ONE_THREAD_INTERRUPTED, test=TEST)}- The steps, the decay and the weights below were
  changed when the training was resumed, so the command alone does not give the same network.
- The loss has a term beside the likelihood: it is −log p(x|y) plus the log loss of telling the label from one wrong
  label by their likelihoods, over half of each batch, ten times, four times after 2,000 steps and once after 2,720.
  That term spends a little likelihood on accuracy; p(x|y) stays normalised.

## Figures
All on the {figures["test_images"]:,} Fashion-MNIST test images.

{table(("what", "figure"), measured)}

{accuracy_table(figures)}

{evaluation_note(self.command)}
{detection}
As the only gate in front of a classifier log p(x) would be a poor choice.

## What is not good
- The label explains little of the probability of an image: a network that does not know it, fashion-mnist-pixelcnn,
  needs {pixelcnn:.4f} bits per dimension, and p(x) summed over the labels {evidence}.
- As a classifier it is beaten by a network that is trained to be one, fashion-mnist-classifier, and it is
  overconfident: see the expected calibration error. A posterior costs ten passes.
- Shirts are the hardest label, and some samples of dresses and trousers are a cloud of texture.

{limits_section()}"""


TEST = """The test images were not trained on. Figures on 1,500 of them had been seen before the last 250 steps were
  decided on; that decision was made by 300 training images."""

MODEL = ConditionalPixelCNNModel(
    command="pixelcnn-conditional",
    description="Gated PixelCNN of Fashion-MNIST given a label: exact p(x|y), 28×28 grey, 256 levels, ten labels",
    recipe=Recipe(steps=2_970, decay_steps=2_500, batch_size=32),
    config=ConditionalPixelCNNConfig(),
)
