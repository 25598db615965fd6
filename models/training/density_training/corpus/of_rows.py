"""Rows of numbers that are a code or an image, sequences before a fixed batch, and networks that look like others."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import CLASSES, LATENT, SIDE, Case, Graph, Numbers
from density_training.corpus.reference import LEVELS

FEATURES, HEADS, PATCH, ROW = 8, 2, 2, 6


class RowOfLevels(nn.Module):
    """A density of a row of numbers by causal convolutions along it, as probabilities [N, numbers, levels]."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(1, FEATURES, 5), nn.Conv1d(FEATURES, FEATURES, 5)
        self.head = nn.Conv1d(FEATURES, LEVELS, 1)

    def logits(self, row: Tensor) -> Tensor:
        """[N, numbers, levels]."""
        x = F.relu(self.first(F.pad(row[:, None], (5, 0))[:, :, :-1]))
        return self.head(F.relu(self.second(F.pad(x, (4, 0))))).permute(0, 2, 1)

    def forward(self, row: Tensor) -> Tensor:
        return torch.softmax(self.logits(row), 2)


class PlaceBehind(nn.Module):
    """A generator as Keras has it: a code of one place with its channels behind, and pictures likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.ConvTranspose2d(LATENT, 4, SIDE // 2), nn.ConvTranspose2d(4, 3, 2, 2)

    def forward(self, code: Tensor) -> Tensor:
        x = self.second(F.relu(self.first(code.permute(0, 3, 1, 2))))
        return torch.tanh(x).permute(0, 2, 3, 1)


class Patches(nn.Module):
    """A classifier of patches in a sequence before the batch, and of a token before them."""

    def __init__(self, behind: bool) -> None:
        super().__init__()
        self.behind = behind
        self.patches = nn.Conv2d(3, FEATURES, PATCH, PATCH)
        self.places = nn.Parameter(torch.randn((SIDE // PATCH) ** 2, 1, FEATURES))
        self.token = nn.Parameter(torch.randn(1, 1, FEATURES))
        self.query, self.key = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, CLASSES)

    def attended(self, token: Tensor, patches: Tensor) -> Tensor:
        """The token looks at all patches, by heads, [N, 1 or more, features]."""

        def by_heads(x: Tensor) -> Tensor:
            return x.view(x.shape[0], x.shape[1], HEADS, -1).transpose(1, 2)

        query, key = by_heads(self.query(token)), by_heads(self.key(patches))
        shares = torch.softmax(query @ key.transpose(2, 3), 3) @ by_heads(patches)
        return shares.transpose(1, 2).reshape(token.shape[0], token.shape[1], -1)

    def forward(self, image: Tensor) -> Tensor:
        sequence = self.patches(image).permute(2, 3, 0, 1).reshape(-1, image.shape[0], FEATURES) + self.places
        if self.behind:
            token = self.token.expand(-1, image.shape[0], -1)
            both = torch.cat([token, sequence], 0).transpose(0, 1)
            return self.head(self.attended(both, both).transpose(0, 1)[0])
        # The token is the same for all images, and so is what it asks for.
        token = self.token.expand(image.shape[0], -1, -1)
        return self.head(self.attended(token, sequence.transpose(0, 1))[:, 0])


class Counted(nn.Module):
    """A generator that puts ones in the columns of labels, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(LATENT + CLASSES, 16), nn.ReLU(), nn.Linear(16, SIDE * SIDE), nn.Tanh())

    def forward(self, code: Tensor, label: Tensor) -> Tensor:
        one_of_many = torch.zeros(label.shape[0], CLASSES)
        one_of_many[range(label.shape[0]), label] = 1
        return self.net(torch.cat([code, one_of_many], 1)).view(-1, 1, SIDE, SIDE)


class Added(nn.Module):
    """A VAE that draws its code by `addcmul`."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Linear(SIDE * SIDE, LATENT), nn.Linear(SIDE * SIDE, LATENT)
        self.decoder = nn.Sequential(nn.Linear(LATENT, 16), nn.ReLU(), nn.Linear(16, SIDE * SIDE), nn.Sigmoid())

    def forward(self, image: Tensor) -> Tensor:
        x = image.flatten(1)
        deviation = torch.exp(0.5 * self.log_variance(x))
        code = self.mean(x).addcmul(deviation, torch.randn_like(deviation))
        return self.decoder(code).view(-1, 1, SIDE, SIDE)


class Attentive(nn.Module):
    """A generator that gives what its places attend to beside its picture."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.ConvTranspose2d(LATENT, 4, SIDE // 2), nn.ConvTranspose2d(4, 3, 2, 2)

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(code[:, :, None, None]).flatten(2)
        shares = torch.softmax(x.transpose(1, 2) @ x, 2)
        x = (x @ shares).view(-1, 4, SIDE // 2, SIDE // 2)
        return torch.tanh(self.second(x)), shares


class UpToItself(nn.Module):
    """A MADE whose last mask lets each number see itself."""

    def __init__(self) -> None:
        super().__init__()
        numbers = SIDE * SIDE
        self.first, self.second = nn.Linear(numbers, numbers), nn.Linear(numbers, numbers)
        self.register_buffer("mask", torch.tril(torch.ones(numbers, numbers)))

    def forward(self, row: Tensor) -> Tensor:
        x = F.relu(F.linear(row, self.first.weight * self.mask, self.first.bias))
        return torch.sigmoid(F.linear(x, self.second.weight * self.mask, self.second.bias))


class FlatFlow(nn.Module):
    """A coupling of two halves of a row, and the logarithm of its determinant."""

    def __init__(self) -> None:
        super().__init__()
        half = SIDE * SIDE // 2
        self.net = nn.Sequential(nn.Linear(half, 16), nn.Tanh(), nn.Linear(16, 2 * half))

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = row.chunk(2, 1)
        scale, shift = self.net(kept).chunk(2, 1)
        return torch.cat([kept, changed * scale.exp() + shift], 1), scale.sum(1, keepdim=True)


class FlowOfNumbers(nn.Module):
    """An autoregressive flow of a row, with the logarithm of a scale for each of its numbers."""

    def __init__(self) -> None:
        super().__init__()
        numbers = SIDE * SIDE
        self.shift, self.scale = nn.Linear(numbers, numbers), nn.Linear(numbers, numbers)
        self.register_buffer("mask", torch.tril(torch.ones(numbers, numbers), -1))

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor]:
        # A second layer of the same in the order turned round sees all numbers.
        total = torch.zeros_like(row)
        for _ in range(2):
            scale = F.linear(row, self.scale.weight * self.mask, self.scale.bias)
            shift = F.linear(row, self.shift.weight * self.mask, self.shift.bias)
            row, total = ((row - shift) * torch.exp(-scale)).flip(1), total.flip(1) - scale
        return row, total


class Ladder(nn.Module):
    """A VAE whose code is drawn around what is made of another drawn code."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(SIDE * SIDE, 2 * LATENT), nn.Linear(2 * LATENT, 2 * LATENT)
        self.decoder = nn.Sequential(nn.Linear(LATENT, 16), nn.ReLU(), nn.Linear(16, SIDE * SIDE), nn.Sigmoid())

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image.flatten(1))
        for layer in (nn.Identity(), self.second):
            mean, deviation = layer(x).chunk(2, 1)
            code = mean + torch.exp(0.5 * deviation) * torch.randn_like(mean)
            x = torch.cat([code, code * 0.5], 1)
        return self.decoder(code).view(-1, 1, SIDE, SIDE)


class Distilled(nn.Module):
    """A classifier that is the mean of two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, FEATURES, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head, self.head_dist = nn.Linear(FEATURES, CLASSES), nn.Linear(FEATURES, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        x = self.net(image)
        return (self.head(x) + self.head_dist(x)) / 2


class Waves(nn.Module):
    """A classifier with places as sines of counted rows and columns, and features that may be laid out again."""

    def __init__(self, laid_out: bool) -> None:
        super().__init__()
        self.laid_out = laid_out
        self.first, self.places = nn.Conv2d(3, FEATURES, 3, padding=1), nn.Conv2d(2, FEATURES, 1)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        ones = torch.ones(image.shape[0], SIDE, SIDE)
        places = torch.stack((torch.sin(ones.cumsum(1)), torch.cos(ones.cumsum(2))), 1)
        x = F.relu(self.first(image) + self.places(places)).mean((2, 3))
        if self.laid_out:
            x = x.as_strided((image.shape[0], FEATURES, 1, 1), (FEATURES, 1, 1, 1)).flatten(1)
        return self.head(x)


class Windows(nn.Module):
    """A classifier of windows of images, which are joined along the batch and attend by heads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mix = nn.Conv2d(3, FEATURES, 1), nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        half, count = SIDE // 2, image.shape[0]
        x = self.first(image).permute(0, 2, 3, 1).view(count, 2, half, 2, half, FEATURES).transpose(2, 3)
        windows = x.reshape(count * 4, half * half, FEATURES)
        heads = self.mix(windows).view(windows.shape[0], half * half, HEADS, -1).transpose(1, 2)
        heads = torch.softmax(heads @ heads.transpose(2, 3), 3) @ heads
        x = windows + heads.transpose(1, 2).reshape(windows.shape[0], half * half, -1)
        return self.head(x.view(count, -1, FEATURES).mean(1))


class Encoder(nn.Module):
    """Mean and log-variance of a code."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Linear(SIDE * SIDE, LATENT), nn.Linear(SIDE * SIDE, LATENT)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(image.flatten(1)), self.log_variance(image.flatten(1)) - 3


def _posterior(module: nn.Module) -> Numbers:
    def numbers(images: Tensor) -> Tensor:
        return F.log_softmax(module(images.float() / 255).double(), 1)

    return numbers


def _score_of_rows(module: RowOfLevels) -> Numbers:
    def numbers(images: Tensor) -> Tensor:
        rows = images.flatten(1)
        logits = module.logits(rows.float() / (LEVELS - 1)).double()
        return torch.log_softmax(logits, 2).gather(2, rows[:, :, None]).sum((1, 2))

    return numbers


def _vaes() -> Iterator[Case]:
    pair = Graph(Encoder(), (torch.rand(2, 1, SIDE, SIDE),), "encoder.onnx", ("image",), ("mean", "log_variance"))
    code = torch.randn(2, LATENT)

    def decoder(*layers: nn.Module) -> Graph:
        return Graph(nn.Sequential(nn.Linear(LATENT, 16), nn.ReLU(), *layers), (code,), "decoder.onnx", ("code",))

    log_odds = decoder(nn.Linear(16, SIDE * SIDE), nn.Sigmoid(), nn.Unflatten(1, (1, SIDE, SIDE)))
    said = ("--levels", "2", "--declare", "head=bernoulli")
    yield Case("vae-head-said", (pair, log_odds), family="vae", arguments=said, levels=2)
    of_levels = decoder(nn.Linear(16, SIDE * SIDE * 5), nn.Unflatten(1, (SIDE * SIDE, 5)), nn.Softmax(2))
    said = ("--levels", "5")
    yield Case("vae-levels", (pair, of_levels), family="vae", arguments=said, levels=5, refused="logits of levels")
    unbounded = decoder(nn.Linear(16, SIDE * SIDE), nn.Unflatten(1, (1, SIDE, SIDE)))
    with torch.no_grad():
        unbounded.module[2].bias.uniform_(-6, 4)
    yield Case("vae-outside", (pair, unbounded), family="vae", refused="lie outside of 0 to 1")
    drawn = Graph(Added(), (torch.rand(2, 1, SIDE, SIDE),), fixed=True)
    yield Case("vae-addcmul", (drawn,), family="vae")


def cases() -> Iterator[Case]:
    """What takes rows, what has a sequence or labels of a fixed batch, and what looks like something else."""
    row = RowOfLevels()
    yield Case(
        "row-of-levels",
        (Graph(row, (torch.rand(2, ROW * ROW),), inputs=("input",), fixed=True),),
        family="pixelcnn",
        arguments=("--levels", str(LEVELS)),
        levels=LEVELS,
        shape=(1, ROW, ROW),
        numbers=_score_of_rows(row),
        sampler="wavefront",
    )
    flat = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4 * SIDE * SIDE), nn.Tanh())
    for name, fixed, dynamo in (("", True, False), ("-free", False, False), ("-dynamo", True, True)):
        graph = Graph(flat, (torch.randn(2, 16),), inputs=("input",), fixed=fixed, dynamo=dynamo)
        yield Case(f"gan-square-code{name}", (graph,), family="gan")
    behind = Graph(PlaceBehind(), (torch.randn(2, 1, 1, LATENT),), inputs=("input",))
    yield Case("gan-place-behind", (behind,), family="gan", says=("gan of 3×8×8",))
    photographs = torch.rand(2, 3, SIDE, SIDE)
    for name, is_behind in (("patches-behind", True), ("token-alone", False)):
        for end, dynamo in (("", False), ("-dynamo", True)):
            module = Patches(is_behind).eval()
            yield Case(
                f"classifier-{name}{end}",
                (Graph(module, (photographs,), outputs=("logits",), fixed=True, dynamo=dynamo),),
                family="classifier",
                shape=(3, SIDE, SIDE),
                numbers=_posterior(module),
                says=("is made free",),
            )
    label = torch.tensor([3, 0])
    for name, fixed, dynamo in (("", True, False), ("-free", False, False), ("-dynamo", True, True)):
        example = (torch.randn(2, LATENT), label)
        graph = Graph(Counted(), example, inputs=("z", "label"), fixed=fixed, dynamo=dynamo)
        yield Case(f"gan-counted-labels{name}", (graph,), family="gan")
    attentive = Graph(Attentive(), (torch.randn(2, LATENT),), inputs=("z",), outputs=("output", "attention"))
    yield Case("gan-attentive", (attentive,), family="gan", says=("which of its outputs is the picture",))
    rows = torch.rand(2, SIDE * SIDE)
    itself = Graph(UpToItself(), (rows,), inputs=("x",))
    yield Case("made-up-to-itself", (itself,), family="pixelcnn", refused="sees what it predicts")
    flow = Graph(FlatFlow(), (rows,), inputs=("x",), outputs=("z", "log_det"))
    yield Case("flow-flat", (flow,), family="pixelcnn", refused="normalising flows")
    yield from _vaes()
    numbers = Graph(FlowOfNumbers(), (rows,), inputs=("x",), outputs=("u", "log_scale"))
    yield Case("flow-of-numbers", (numbers,), family="pixelcnn", refused="normalising flows")
    ladder = Graph(Ladder(), (torch.rand(2, 1, SIDE, SIDE),))
    yield Case("vae-ladder", (ladder,), family="vae", refused="hierarchical")
    distilled = Distilled().eval()
    graph = Graph(distilled, (photographs,), outputs=("output",))
    says = ("because of the name",)
    yield Case("classifier-distilled", (graph,), family="classifier", shape=(3, SIDE, SIDE), says=says)
    for end, dynamo in (("", False), ("-dynamo", True)):
        waves = Waves(laid_out=dynamo).eval()
        graph = Graph(waves, (photographs,), outputs=("logits",), fixed=True, dynamo=dynamo)
        says = ("is made free",)
        yield Case(
            f"classifier-waves{end}",
            (graph,),
            family="classifier",
            shape=(3, SIDE, SIDE),
            numbers=_posterior(waves),
            says=says,
        )
    windows = Windows().eval()
    for end, dynamo in (("", False), ("-dynamo", True)):
        yield Case(
            f"classifier-windows{end}",
            (Graph(windows, (photographs,), outputs=("logits",), fixed=True, dynamo=dynamo),),
            family="classifier",
            shape=(3, SIDE, SIDE),
            numbers=_posterior(windows),
            says=("is made free",),
        )
