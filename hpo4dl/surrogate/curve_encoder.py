"""The deep part of the kernel: a convolution and an MLP over the curve so far.

    curve   (n, c)   normalised values before an epoch, padded behind with zeros
    length  (n,)     how many of them there are

It is small and has no batch normalisation: deep kernels over-fit the marginal likelihood (Ober et al. 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CurveEncoder(nn.Module):
    """A 1-D convolution over (value, is there one), pooled by its mean over the curve and by its last position; an MLP.

    Padding is masked out, so a curve's code depends on nothing but the curve; the mask is a channel, so that no curve
    is the same as a curve of zeros. The code of no curve is 0.
    """

    def __init__(self, n_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        filters, hidden = 8, 16
        self.weight = _weights(1 / 6**0.5, (filters, 2, 3), generator)
        self.bias = nn.Parameter(torch.zeros(filters, dtype=torch.float64))
        self.hidden = _weights(1 / (2 * filters) ** 0.5, (2 * filters, hidden), generator)
        self.out = _weights(1 / hidden**0.5, (hidden, n_outputs), generator)

    def forward(self, curve: Tensor, length: Tensor) -> Tensor:
        """(n, n_outputs)."""
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
    return nn.Parameter(std * torch.randn(shape, generator=generator, dtype=torch.float64))
