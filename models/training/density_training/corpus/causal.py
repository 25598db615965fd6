"""Small causal networks of convolutions, written as people write them.

The server has to understand graphs that it did not have a hand in: masks multiplied in at run time, padding and
cropping, shifts by slicing or assignment, shapes computed in the graph, views, coordinates, weights of 16 bits,
normalisation, embeddings of classes and levels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import HEIGHT, WIDTH

CHANNELS, CLASSES = 8, 3


class MaskedConv2d(nn.Conv2d):
    """The textbook's masked convolution: the mask is multiplied in at every call."""

    mask: Tensor

    def __init__(self, kind: str, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        mask = torch.ones_like(self.weight)
        height, width = self.kernel_size
        mask[:, :, height // 2, width // 2 + (kind == "B") :] = 0
        mask[:, :, height // 2 + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class MaskedStack(nn.Module):
    """One raster-masked stack with batch normalisation (van den Oord et al. 2016a)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [MaskedConv2d("A", 1, CHANNELS, 7, padding=3)]
        for _ in range(2):
            layers += [nn.BatchNorm2d(CHANNELS), nn.ReLU(), MaskedConv2d("B", CHANNELS, CHANNELS, 3, padding=1)]
        self.net = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(CHANNELS, 4, 1))
        for layer in self.net:
            if isinstance(layer, nn.BatchNorm2d):
                mean, variance = layer.running_mean, layer.running_var
                assert mean is not None, "tracked unless told otherwise"
                assert variance is not None, "tracked unless told otherwise"
                nn.init.normal_(mean, std=0.3)
                nn.init.uniform_(variance, 0.5, 2.0)

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image * 2 - 1)


class TwoStacks(nn.Module):
    """Vertical and horizontal gated stacks (van den Oord et al. 2016b): padding on all sides, then cropping."""

    def __init__(self) -> None:
        super().__init__()
        self.vertical = nn.ModuleList(
            nn.Conv2d(1 if i == 0 else CHANNELS, 2 * CHANNELS, (2, 3), padding=(2 if i == 0 else 1, 1))
            for i in range(3)
        )
        self.horizontal = nn.ModuleList(
            nn.Conv2d(1 if i == 0 else CHANNELS, 2 * CHANNELS, (1, 2), padding=(0, 2 if i == 0 else 1))
            for i in range(3)
        )
        self.link = nn.ModuleList(nn.Conv2d(2 * CHANNELS, 2 * CHANNELS, 1) for _ in range(3))
        self.out = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(3))
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        v, h = image, image
        height, width = image.shape[-2:]
        for i, (vertical, horizontal, link, out) in enumerate(
            zip(self.vertical, self.horizontal, self.link, self.out, strict=True)
        ):
            v_pre = vertical(v)[:, :, :height]
            h_pre = horizontal(h)[:, :, :, :width] + link(v_pre)
            v, gated = _gate(v_pre), out(_gate(h_pre))
            h = gated if i == 0 else h + gated
        return self.head(F.relu(h))


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


class Shifted(nn.Module):
    """Down- and right-shifted convolutions with concatenated ELUs, as PixelCNN++ (Salimans et al. 2017) does it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, CHANNELS, (2, 3))
        self.right = nn.Conv2d(2, CHANNELS, (2, 2))
        self.middle = nn.Conv2d(2 * CHANNELS, CHANNELS, (2, 2))
        self.head = nn.Conv2d(2 * CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.cat([image, torch.ones_like(image)], dim=1)  # Tells padding from black.
        down = self.down(F.pad(x, (1, 1, 1, 0)))
        down = torch.cat([torch.zeros_like(down[:, :, :1]), down[:, :, :-1]], dim=2)
        right = F.pad(self.right(F.pad(x, (1, 0, 1, 0))), (1, 0, 0, 0))[:, :, :, :-1]
        h = F.elu(torch.cat([down + right, -(down + right)], dim=1))
        h = h[:, :CHANNELS] + self.middle(F.pad(h, (1, 0, 1, 0)))
        return self.head(F.elu(torch.cat([h, -h], dim=1)))


class Dilated(nn.Module):
    """Masked convolutions of growing dilation in a residual stack, with leaky and soft activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 5, padding=2)
        self.layers = nn.ModuleList(
            MaskedConv2d("B", CHANNELS, CHANNELS, 3, padding=dilation, dilation=dilation) for dilation in (1, 2, 3)
        )
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        for layer in self.layers:
            x = x + F.leaky_relu(layer(F.softplus(x)), 0.1)
        return self.head(x)


class Conditional(nn.Module):
    """A class embedding added before each gate, broadcast over space."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, 2 * CHANNELS, 5, padding=2)
        self.second = MaskedConv2d("B", CHANNELS, 2 * CHANNELS, 3, padding=1)
        self.embedding = nn.Embedding(CLASSES, 2 * CHANNELS)
        self.project = nn.Linear(2 * CHANNELS, 2 * CHANNELS)
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        y = self.embedding(label)
        x = _gate(self.first(image) + y[:, :, None, None])
        y = torch.tanh(self.project(y))
        x = x + _gate(self.second(x) + y.view(-1, 2 * CHANNELS, 1, 1).expand(-1, -1, HEIGHT, WIDTH))
        return self.head(F.relu(x))


class Colour(nn.Module):
    """Three ordered channels: green sees red, blue sees both; features of a channel lie side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ordered_conv(3, 3 * CHANNELS, 5, sees_itself=False)
        self.second = ordered_conv(3 * CHANNELS, 3 * CHANNELS, 3, sees_itself=True)
        self.head = ordered_conv(3 * CHANNELS, 12, 1, sees_itself=True)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first((image - 0.5) / 0.5))
        x = F.relu(self.second(x))
        logits = self.head(x)
        n, _, height, width = logits.shape
        return logits.view(n, 3, 4, height, width).permute(0, 2, 1, 3, 4)


def ordered_conv(inputs: int, outputs: int, size: int, *, sees_itself: bool) -> MaskedConv2d:
    """A masked convolution of three groups of channels in order, red before green before blue."""
    conv = MaskedConv2d("A", inputs, outputs, size, padding=size // 2)
    target = torch.arange(outputs)[:, None] // (outputs // 3)
    source = torch.arange(inputs)[None] // (inputs // 3)
    conv.mask[:, :, size // 2, size // 2] = (source <= target if sees_itself else source < target).float()
    return conv


class Bernoulli(nn.Module):
    """One logit a pixel, with grouped and bias-free convolutions and the squeeze-free head of a binary model."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.grouped = MaskedConv2d("B", CHANNELS, CHANNELS, 3, padding=1, groups=2, bias=False)
        self.slope = nn.PReLU(CHANNELS)
        self.head = nn.Conv2d(CHANNELS, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.slope(self.first(image))
        return self.head(x + F.hardswish(self.grouped(x)))


class Normalised(nn.Module):
    """A causal ConvNeXt: depthwise convolution, layer normalisation over channels, linear layers on the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 5, padding=2)
        self.depthwise = MaskedConv2d("B", CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
        self.norm = nn.LayerNorm(CHANNELS)
        self.wide = nn.Linear(CHANNELS, 4 * CHANNELS)
        self.narrow = nn.Linear(4 * CHANNELS, CHANNELS)
        self.row, self.column = nn.Parameter(torch.randn(1, CHANNELS, HEIGHT, 1)), nn.Parameter(torch.randn(WIDTH))
        self.head = nn.Linear(CHANNELS, 4)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image) + self.row * self.column
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(F.gelu(self.wide(y)))
        x = x + y.permute(0, 3, 1, 2)
        x = x / x.square().mean(dim=1, keepdim=True).add(1e-5).sqrt()
        flat = x.flatten(2).transpose(1, 2)
        return self.head(flat).transpose(1, 2).reshape(x.shape[0], 4, *x.shape[2:])


class Strided(nn.Module):
    """Down- and up-sampling of the rows above."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.down = nn.Conv2d(CHANNELS, CHANNELS, 2, stride=2)
        self.up = nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, stride=2, output_padding=(1, 0))
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        y = F.pad(self.up(F.relu(self.down(x))), (0, 0, 2, 0))[:, :, :HEIGHT]
        return self.head(x + y)


class Viewed(nn.Module):
    """Views, squeezes and flattenings between layers that change nothing, and channels beside levels in the head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 5, padding=2)
        self.second = MaskedConv2d("B", CHANNELS, CHANNELS, 3, padding=1)
        self.mix = ordered_conv(3 * CHANNELS, 3 * CHANNELS, 1, sees_itself=True)
        self.head = ordered_conv(3 * CHANNELS, 12, 1, sees_itself=True)

    def forward(self, image: Tensor) -> Tensor:
        n = image.shape[0]
        x = image[:, 0].view(-1, 1, HEIGHT, WIDTH).squeeze(1).unsqueeze(1)
        x = F.relu(self.first(x)).flatten(1).view(-1, CHANNELS, HEIGHT, WIDTH)
        x = F.relu(self.second(x)).reshape(n, -1)
        x = torch.tanh(x.reshape(n, CHANNELS, HEIGHT, WIDTH)).repeat(1, 3, 1, 1)
        return torch.stack(self.head(F.elu(self.mix(x))).chunk(3, dim=1), dim=2)


class Embedded(nn.Module):
    """An embedding of the level of each channel in place of its value."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, CHANNELS)
        self.first = ordered_conv(3 * CHANNELS, 3 * CHANNELS, 5, sees_itself=False)
        self.head = ordered_conv(3 * CHANNELS, 12, 1, sees_itself=True)

    def forward(self, image: Tensor) -> Tensor:
        x = self.table((image * 3).round().long()).permute(0, 1, 4, 2, 3).flatten(1, 2)
        logits = self.head(F.relu(self.first(x)))
        return logits.view(logits.shape[0], 3, 4, HEIGHT, WIDTH).transpose(1, 2)


class OneHot(nn.Module):
    """Levels as one-hot codes, a matrix from the left, dropout, and casts that do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 4, CHANNELS, 5, padding=2)
        self.turn = nn.Parameter(torch.randn(CHANNELS, CHANNELS))
        self.rest = nn.Sequential(nn.Identity(), nn.Dropout2d(0.3), nn.ReLU(), nn.Conv2d(CHANNELS, 4, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = F.one_hot((image * 3).round().long()[:, 0], 4).float().permute(0, 3, 1, 2)
        x = self.turn @ self.first(x).to(torch.float32).contiguous().flatten(2)
        return self.rest(x.view(-1, CHANNELS, HEIGHT, WIDTH))


class Coordinates(nn.Module):
    """Coordinates beside the image and beside features: all of them are seen, at later pixels too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 3, CHANNELS, 5, padding=2)
        self.second = MaskedConv2d("B", CHANNELS + 2, CHANNELS, 3, padding=1)
        for layer in (self.first, self.second):
            layer.mask[:, -2:] = 1
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        n, _, height, width = image.shape
        rows = torch.linspace(-1, 1, height).view(1, 1, height, 1).expand(n, 1, height, width)
        columns = (torch.arange(width) / width).view(1, 1, 1, width).expand(n, 1, height, width)
        places = torch.cat([rows, columns], dim=1)
        x = F.relu(self.first(torch.cat([image, places], dim=1)))
        return self.head(F.relu(self.second(torch.cat([x, places], dim=1))))


class Assigned(nn.Module):
    """Shifts and masks by assignment at every call, a border that is set to zero, a head by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, CHANNELS, (1, 3), padding=(0, 1))
        self.right = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.head = nn.Parameter(torch.randn(CHANNELS, 4))

    def forward(self, image: Tensor) -> Tensor:
        above = self.down(image)
        down = torch.zeros_like(above)
        down[:, :, 1:] = above[:, :, :-1]
        mask = torch.ones_like(self.right.weight)
        mask[:, :, 1, 1:] = 0
        mask[:, :, 2] = 0
        x = F.relu(down + F.conv2d(image, self.right.weight * mask, self.right.bias, padding=1))
        x[:, :, :, -1:] = 0
        return torch.einsum("nchw,ck->nkhw", x, self.head)


class Half(nn.Module):
    """Weights and features of 16 bits between an image and logits of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            MaskedConv2d("A", 1, CHANNELS, 5, padding=2),
            nn.ReLU(),
            MaskedConv2d("B", CHANNELS, CHANNELS, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(CHANNELS, 4, 1),
        ).half()

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image.half()).float()


class Deep(nn.Module):
    """A vertical stack so deep that its features are needed at many delays, each masked at the border."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(1 if i == 0 else 2, 2, (2, 3), padding=(1, 1)) for i in range(7))
        self.row = nn.Conv2d(1, 4, (1, 2), padding=(0, 2))
        self.head = nn.Conv2d(2, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.pad(image, (0, 0, 1, 0))[:, :, :-1]
        for layer in self.layers:
            x = torch.tanh(layer(x)[:, :, :-1])
        return self.head(x) + self.row(image)[:, :, :, :WIDTH]


class GroupNormalised(nn.Module):
    """Group normalisation averages over places, later ones included: not causal, and no stencil."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 5, padding=2)
        self.norm = nn.GroupNorm(2, CHANNELS)
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.first(image))))


class Connected(nn.Module):
    """A masked autoencoder (Germain et al. 2015): causal, but its layers connect all places."""

    def __init__(self) -> None:
        super().__init__()
        pixels = HEIGHT * WIDTH
        self.first, self.last = nn.Linear(pixels, pixels), nn.Linear(pixels, 4 * pixels)
        self.register_buffer("before", torch.ones(pixels, pixels).tril(-1))
        self.register_buffer("until", torch.ones(pixels, pixels).tril(0).repeat(4, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(F.linear(image.flatten(1), self.first.weight * self.before, self.first.bias))
        return F.linear(x, self.last.weight * self.until, self.last.bias).view(-1, 4, HEIGHT, WIDTH)
