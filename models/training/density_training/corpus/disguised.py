"""Small causal networks that do at every pixel what others do with convolutions, written in other ways."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import HEIGHT, WIDTH
from density_training.corpus.causal import CHANNELS, MaskedConv2d


class Unfold(nn.Module):
    """A masked convolution as a product with the neighbours that `unfold` lays side by side."""

    mask: Tensor

    def __init__(self, kind: str, inputs: int, *, left: bool) -> None:
        super().__init__()
        self.left = left
        self.weight = nn.Parameter(torch.randn(CHANNELS, 9 * inputs) / 4)
        seen = torch.arange(9) < 4 + (kind == "B")
        self.register_buffer("mask", seen.float().repeat(inputs))

    def forward(self, x: Tensor) -> Tensor:
        columns, weight = F.unfold(x, 3, padding=1), self.weight * self.mask
        y = weight @ columns if self.left else (columns.transpose(1, 2) @ weight.T).transpose(1, 2)
        return y.reshape(-1, CHANNELS, HEIGHT, WIDTH)


class Unfolded(nn.Module):
    """Neighbours laid side by side, then products from the left, from the right, and by an equation."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Unfold("A", 1, left=True), Unfold("B", CHANNELS, left=False)
        self.weight = nn.Parameter(torch.randn(CHANNELS, CHANNELS, 3, 3) / 4)
        self.register_buffer("mask", (torch.arange(9) < 5).float().view(3, 3))
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(image))))
        n = x.shape[0]
        near = F.unfold(x, 3, padding=1).view(n, CHANNELS, 3, 3, HEIGHT, WIDTH)
        return self.head(x + F.relu(torch.einsum("ncijhw,ocij->nohw", near, self.weight * self.mask)))


class Stacked(nn.Module):
    """Shifted pictures in a stack, summed by an equation; products of each group of channels with its own matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.taps = nn.Parameter(torch.randn(3, CHANNELS, CHANNELS) / 4)
        self.groups = nn.Parameter(torch.randn(2, CHANNELS // 2, CHANNELS // 2) / 2)
        self.heads = nn.Parameter(torch.randn(2, CHANNELS // 2, CHANNELS // 2) / 2)
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        above, left = F.pad(x, (0, 0, 1, 0))[:, :, :-1], F.pad(x, (1, 0))[..., :-1]
        x = F.relu(torch.einsum("tnchw,toc->nohw", torch.stack([x, above, left]), self.taps))
        n = x.shape[0]
        y = (self.groups @ x.view(n, 2, CHANNELS // 2, HEIGHT * WIDTH)).view(n, 2, CHANNELS // 2, HEIGHT, WIDTH)
        y = torch.einsum("ngchw,gcd->nhwgd", y, self.heads).flatten(3).permute(0, 3, 1, 2)
        return self.head(torch.stack([x, y]).sum(0))


class Axial(nn.Module):
    """Attention of two heads along each row, then along each column (Ho et al. 2019)."""

    rows: Tensor
    columns: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.mix = nn.ModuleList(nn.Linear(CHANNELS, 3 * CHANNELS) for _ in range(2))
        self.head = nn.Linear(CHANNELS, 4)
        self.near = nn.Parameter(torch.randn(2, WIDTH, WIDTH))
        self.register_buffer("rows", torch.full((WIDTH, WIDTH), -torch.inf).triu(1))
        self.register_buffer("columns", torch.ones(HEIGHT, HEIGHT).tril() == 0)

    def _along(self, x: Tensor, mix: nn.Module, near: Tensor) -> Tensor:
        q, k, v = (t.unflatten(3, (2, -1)).transpose(2, 3) for t in mix(x).chunk(3, dim=3))
        scores = q @ k.transpose(3, 4) / (CHANNELS // 2) ** 0.5
        scores = scores.masked_fill(near, -torch.inf) if near.dtype == torch.bool else scores + near
        return x + (scores.softmax(4) @ v).transpose(2, 3).flatten(3)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image)).permute(0, 2, 3, 1)
        x = self._along(x, self.mix[0], self.rows + self.near)
        x = self._along(x.transpose(1, 2), self.mix[1], self.columns).transpose(1, 2)
        return self.head(x).permute(0, 3, 1, 2)


class EachPixel(nn.Module):
    """Pixels and rows as a batch of their own, a depth of one, and levels marked by `scatter_`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 4, CHANNELS, 3, padding=1)
        self.norm = nn.GroupNorm(2, CHANNELS)
        self.along = nn.Conv1d(CHANNELS, CHANNELS, 2)
        self.deep = nn.Conv3d(CHANNELS, CHANNELS, (1, 2, 3))
        self.turned = nn.Conv2d(CHANNELS, CHANNELS, (2, 1))
        self.head = nn.Conv2d(CHANNELS, 4, 1)
        nn.init.normal_(self.norm.bias)

    def forward(self, image: Tensor) -> Tensor:
        n = image.shape[0]
        level = (image * 3).round().long()
        marks = torch.zeros(n, 4, HEIGHT, WIDTH).scatter_(1, level, 1.0)
        x = F.elu(self.first(marks))
        x = self.norm(x.permute(0, 2, 3, 1).reshape(-1, CHANNELS)).view(n, HEIGHT, WIDTH, CHANNELS)
        rows = x.transpose(2, 3).reshape(n * HEIGHT, CHANNELS, WIDTH)
        x = x.permute(0, 3, 1, 2) + self.along(F.pad(rows, (1, 0))).view(n, HEIGHT, CHANNELS, WIDTH).transpose(1, 2)
        above = F.pad(x, (1, 1, 2, 0))[:, :, :-1]
        x = x + F.relu(self.deep(above.unsqueeze(2))).squeeze(2)
        x = x + self.turned(F.pad(x.transpose(2, 3), (0, 0, 1, 0))).transpose(2, 3)
        return self.head(x * (x.argmax(1, keepdim=True) > 2))
