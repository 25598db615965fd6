"""Networks that take a picture for a sequence of pixels, as language models do: with a token before the first one."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import CLASSES, HEIGHT, WIDTH, Case, Graph
from density_training.corpus.causal import CHANNELS, MaskedConv2d
from density_training.corpus.reference import DENSITY, LEVELS, density

PIXELS = HEIGHT * WIDTH


class Transformer(nn.Module):
    """One block of causal attention after embeddings of tokens and places, as GPTs have it: tokens to logits."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(LEVELS + 1, CHANNELS), nn.Embedding(places, CHANNELS)
        self.norm, self.mix = nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, 3 * CHANNELS)
        self.head = nn.Linear(CHANNELS, LEVELS)
        self.register_buffer("mask", torch.ones(places, places).tril() == 0)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.of_words(self.words(tokens))

    def of_words(self, words: Tensor) -> Tensor:
        """The same of what stands for tokens."""
        length = words.shape[1]
        x = words + self.places(torch.arange(length))
        q, k, v = self.mix(self.norm(x)).chunk(3, dim=2)
        scores = (q @ k.transpose(1, 2)).masked_fill(self.mask[:length, :length], float("-inf"))
        return self.head(x + scores.softmax(2) @ v)


class Next(nn.Module):
    """Gives at each pixel a prediction of the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Transformer(PIXELS)

    def forward(self, image: Tensor) -> Tensor:
        return self.net((image * 3).round().long().flatten(1)).transpose(1, 2)


class Started(nn.Module):
    """A token before the pixels: the network is given the last one, too, or not."""

    def __init__(self, *, cut: bool = False) -> None:
        super().__init__()
        self.cut, self.net = cut, Transformer(PIXELS + 1)

    def forward(self, image: Tensor) -> Tensor:
        pixels = (image * 3).round().long().flatten(1)
        tokens = torch.cat([torch.full((pixels.shape[0], 1), LEVELS, dtype=torch.long), pixels], dim=1)
        logits = self.net(tokens[:, :-1]) if self.cut else self.net(tokens)[:, :-1]
        return logits.transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))


class Untyped(Started):
    """A token of no type that is told, which PyTorch's older exporter takes for a real number."""

    def __init__(self) -> None:
        super().__init__(cut=True)

    def forward(self, image: Tensor) -> Tensor:
        pixels = (image * 3).round().long().flatten(1)
        tokens = torch.cat([torch.full((pixels.shape[0], 1), LEVELS), pixels], dim=1)
        return self.net(tokens[:, :-1]).transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))


class StartedByLabel(nn.Module):
    """The label is the token: its embedding, of the same table as that of levels, comes before those of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Transformer(PIXELS + 1)
        self.net.words = nn.Embedding(LEVELS + CLASSES, CHANNELS)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        pixels = (image * 3).round().long().flatten(1)
        words = [self.net.words(label[:, None] + LEVELS), self.net.words(pixels)]
        logits = self.net.of_words(torch.cat(words, dim=1))[:, :-1]
        return logits.transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))


class Summed(nn.Module):
    """Means of what came before, along the pixels, the rows and the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 5, padding=2)
        self.mix, self.head = nn.Conv2d(4 * CHANNELS, CHANNELS, 1), nn.Conv2d(CHANNELS, LEVELS, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        pixels = (x.flatten(2).cumsum(2) / torch.arange(1, PIXELS + 1)).view_as(x)
        rows = (x.cumsum(2) - x) / HEIGHT
        x = torch.cat([x, pixels, rows, x.cumsum(3) / WIDTH], dim=1)
        return self.head(F.relu(self.mix(x)))


class Recurrent(nn.Module):
    """An LSTM along the pixels, a GRU down the columns, another or a plain recurrent layer along the rows."""

    def __init__(self, *, plain: bool = False) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.pixels = nn.LSTM(CHANNELS, CHANNELS, batch_first=True)
        self.columns = nn.GRU(CHANNELS, CHANNELS)
        # The newer exporter writes plain layers out, place by place.
        self.rows = (nn.RNN if plain else nn.GRU)(CHANNELS, CHANNELS)
        self.head = nn.Conv2d(CHANNELS, LEVELS, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        n = x.shape[0]
        y = self.columns(x.permute(2, 0, 3, 1).reshape(HEIGHT, n * WIDTH, CHANNELS))[0]
        x = x + y.view(HEIGHT, n, WIDTH, CHANNELS).permute(1, 3, 0, 2)
        y = self.rows(x.permute(3, 0, 2, 1).reshape(WIDTH, n * HEIGHT, CHANNELS))[0]
        x = x + y.view(WIDTH, n, HEIGHT, CHANNELS).permute(1, 3, 2, 0)
        y = self.pixels(x.flatten(2).transpose(1, 2))[0]
        return self.head(x + y.transpose(1, 2).view_as(x))


class LinearAttention(nn.Module):
    """Attention without a softmax: running sums of products of keys and values (Katharopoulos et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 5, padding=2)
        self.mix, self.head = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, LEVELS)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image)).flatten(2).transpose(1, 2)
        q, k, v = self.mix(x).chunk(3, dim=2)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        sums = torch.einsum("nld,nle->nlde", k, v).cumsum(1)
        weights = torch.einsum("nld,nld->nl", q, k.cumsum(1))
        y = (q.unsqueeze(2) @ sums).squeeze(2) / (weights.unsqueeze(2) + 1e-6)
        return self.head(x + y).transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))


class ChannelByChannel(nn.Module):
    """Writes the prediction of each channel, which sees those before it, into what is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 3, CHANNELS, 3, padding=1)
        self.heads = nn.ModuleList(nn.Conv2d(CHANNELS + channel, LEVELS, 1) for channel in range(3))

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        logits = torch.zeros(image.shape[0], LEVELS, 3, HEIGHT, WIDTH)
        for channel, head in enumerate(self.heads):
            logits[:, :, channel] = head(torch.cat([x, image[:, :channel]], dim=1))
        return logits


class Looped(nn.Module):
    """A cell that a loop of Python takes from pixel to pixel: causal, but as many layers as pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(1, 6), nn.Linear(6, 4)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.flatten(1)
        state, before, logits = torch.zeros_like(pixels[:, :6]), torch.zeros_like(pixels[:, :1]), []
        for at in range(HEIGHT * WIDTH):
            state = self.cell(before, state)
            logits.append(self.head(state))
            before = pixels[:, at : at + 1]
        return torch.stack(logits, 2).unflatten(2, (HEIGHT, WIDTH))


def cases() -> Iterator[Case]:
    """Those that are densities and those that are not yet."""
    grey = torch.rand(2, 1, HEIGHT, WIDTH)
    yield Case("sequence-next", (Graph(Next(), (grey,)),), family="pixelcnn", refused="put a start token before")
    for cut in (True, False):
        name = "sequence-cut" if cut else "sequence-long"
        yield density(name, Started(cut=cut), dynamo=cut)
    labelled = StartedByLabel()

    def of_labels(images: Tensor) -> Tensor:
        logits = (labelled(images.float() / 3, torch.full((len(images),), label)).double() for label in range(CLASSES))
        scores = [-F.cross_entropy(own, images[:, 0], reduction="none").flatten(1).sum(1) for own in logits]
        return torch.stack(scores, 1)

    graph = Graph(labelled, (grey, torch.tensor([0, 1])), inputs=("image", "label"))
    yield Case("sequence-label", (graph,), numbers=of_labels, says=("labels are called 0 to 3",), **DENSITY)
    untyped = Graph(Untyped(), (grey,))
    yield Case("sequence-untyped", (untyped,), family="pixelcnn", refused="dtype=torch.long")
    yield density("sequence-summed", Summed())
    yield density("sequence-recurrent", Recurrent(plain=True))
