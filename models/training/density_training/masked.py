"""The masked convolution of van den Oord, Kalchbrenner and Kavukcuoglu, "Pixel Recurrent Neural Networks" (2016)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedConv2d(nn.Module):
    """A raster-masked k×k convolution that only stores the taps it may see.

    A mask keeps the taps above, those to the left in the same row and, for mask B, the pixel itself. Taken in raster
    order these are simply the first taps of the upper ⌊k/2⌋+1 rows of the kernel. So the weights are one matrix
    [out, taps·in], which suits matrix-wise optimisers such as Muon, and the dense kernel is that matrix with zeros
    appended. Nothing is masked by mutation, and an export bakes the mask in for free.
    """

    def __init__(self, inputs: int, outputs: int, size: int, *, sees_itself: bool, dilation: int = 1) -> None:
        super().__init__()
        self.inputs, self.outputs, self.size, self.dilation = inputs, outputs, size, dilation
        self.taps = (size // 2) * size + size // 2 + int(sees_itself)
        fan_in = self.taps * inputs
        self.weight = nn.Parameter(torch.randn(outputs, fan_in) / math.sqrt(fan_in))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def kernel(self) -> Tensor:
        """The dense kernel [out, in, ⌊k/2⌋+1, k], zero where the mask hides a tap."""
        rows = self.size // 2 + 1
        taps = self.weight.view(self.outputs, self.taps, self.inputs)
        taps = F.pad(taps, (0, 0, 0, rows * self.size - self.taps))
        return taps.view(self.outputs, rows, self.size, self.inputs).permute(0, 3, 1, 2)

    @property
    def padding(self) -> tuple[int, int, int]:
        """Zeros to add on the (left, right, top); nothing below, since no tap looks down."""
        reach = self.size // 2 * self.dilation
        return reach, reach, reach

    def forward(self, x: Tensor) -> Tensor:
        left, right, top = self.padding
        return F.conv2d(F.pad(x, (left, right, top, 0)), self.kernel(), self.bias, dilation=self.dilation)
