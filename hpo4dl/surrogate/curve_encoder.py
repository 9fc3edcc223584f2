"""The deep part of the kernel: a convolution and an MLP over the curve so far, learned beforehand.

    curve   (n, c)         targets of the epochs before one, from the first on, padded behind
    length  (n,)           how many of them there are
    t       (n,)           the epoch to predict: log(epoch) / log(max_epochs)
    code    (n, n_hidden)  what the kernel compares; each element in (-1, 1)

The weights start from `encoder.npz`, which examples/benchmarks/pretrain.py made from made-up and real curves, so that a
race knows from its first epochs on how curves go on. They are small: 0.7 thousand numbers.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..trial import Array


@cache
def pretrained() -> dict[str, Array]:
    """The weights that were learned beforehand, by the names of the encoder's parameters."""
    with np.load(Path(__file__).with_name('encoder.npz')) as weights:
        return {name: weights[name] for name in weights}


class CurveEncoder(nn.Module):
    """A 1-D convolution over the channels (value, mask, position), pooled by mean and by last position, then an MLP.

    The MLP also sees the last value, how far the curve has come, and the epoch to predict. Padding is masked out, so a
    code depends on nothing but the curve and the epoch.
    """

    def __init__(self, weights: dict[str, Array]) -> None:
        super().__init__()
        self.weight, self.bias, self.hidden, self.hidden_bias, self.out = (
            nn.Parameter(torch.tensor(weights[name], dtype=torch.float64, device='cpu'))
            for name in ('weight', 'bias', 'hidden', 'hidden_bias', 'out')
        )

    def forward(self, curve: Tensor, length: Tensor, t: Tensor, max_epochs: int) -> Tensor:
        """(n, n_hidden) codes."""
        log_max = math.log(max(max_epochs, 2))
        pooled = curve.new_zeros(len(curve), 2 * len(self.bias) + 1)
        begun = (length > 0).nonzero()[:, 0]
        if len(begun):
            found = self._pool(curve[begun, : int(length.max())], length[begun], max_epochs)
            pooled = pooled.index_copy(0, begun, found)
        come = length.to(curve.dtype)
        times = [torch.log1p(come) / log_max, come / max_epochs, t, torch.exp((t - 1) * log_max)]
        return torch.tanh(torch.cat([pooled, torch.stack(times, dim=1)], dim=1) @ self.hidden + self.hidden_bias)

    def _pool(self, curve: Tensor, length: Tensor, max_epochs: int) -> Tensor:
        """(n, 2 filters + 1) what was convolved, in the mean and at the last epoch, and the last value."""
        epoch = torch.arange(1, curve.shape[1] + 1, device=curve.device)[None]
        mask = (epoch <= length[:, None]).to(curve.dtype)
        channels = torch.stack([curve * mask, mask, epoch.to(curve.dtype) / max_epochs * mask], dim=1)
        code = torch.tanh(nn.functional.conv1d(channels, self.weight, self.bias, padding=1)) * mask[:, None]
        mean = code.sum(2) / length[:, None]
        at_last = (length - 1)[:, None]
        last = code.gather(2, at_last[:, :, None].expand(-1, code.shape[1], 1))[:, :, 0]
        return torch.cat([mean, last, curve.gather(1, at_last)], dim=1)
