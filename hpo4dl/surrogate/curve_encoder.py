"""The deep part of the kernel: a convolution and an MLP over the curve so far.

    curve   (n, c)          targets of the epochs before one, from the first on, padded behind
    length  (n,)            how many of them there are
    code    (n, n_outputs)  what the kernel compares

It is small and has no batch normalization: deep kernels over-fit the marginal likelihood (Ober et al. 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CurveEncoder(nn.Module):
    """A 1-D convolution over the channels (value, mask), pooled by mean and by last position, then an MLP.

    Padding is masked out, so a curve's code depends on nothing but the curve. The mask is a channel, so that a curve of
    zeros differs from none at all, whose code is 0.

    Args:
        n_outputs: dimension of the code.
        generator: draws the initial weights.
    """

    def __init__(self, n_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        filters, hidden = 8, 16
        self.weight = _weights(1 / 6**0.5, (filters, 2, 3), generator)
        self.bias = nn.Parameter(torch.zeros(filters, dtype=torch.float64, device='cpu'))
        self.hidden = _weights(1 / (2 * filters) ** 0.5, (2 * filters, hidden), generator)
        self.out = _weights(1 / hidden**0.5, (hidden, n_outputs), generator)

    def forward(self, curve: Tensor, length: Tensor) -> Tensor:
        """(n, n_outputs) codes."""
        code = curve.new_zeros(len(curve), len(self.hidden))
        begun = (length > 0).nonzero()[:, 0]
        if len(begun):
            code = code.index_copy(0, begun, self._encode(curve[begun, : int(length.max())], length[begun]))
        return torch.tanh(code @ self.hidden) @ self.out

    def _encode(self, curve: Tensor, length: Tensor) -> Tensor:
        mask = (torch.arange(curve.shape[1], device=curve.device)[None] < length[:, None]).to(curve.dtype)
        channels = torch.stack([curve * mask, mask], dim=1)
        code = torch.tanh(nn.functional.conv1d(channels, self.weight, self.bias, padding=1)) * mask[:, None]
        mean = code.sum(2) / length[:, None]
        last = code.gather(2, (length - 1)[:, None, None].expand(-1, code.shape[1], 1))[:, :, 0]
        return torch.cat([mean, last], dim=1)


def _weights(std: float, shape: tuple[int, ...], generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(std * torch.randn(shape, generator=generator, dtype=torch.float64, device='cpu'))
