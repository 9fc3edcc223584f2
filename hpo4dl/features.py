"""The deep part of the kernel: an MLP over configuration and fidelity, a convolution over the curve so far.

    x       (n, d)   encoded configurations
    t       (n, 1)   fidelity, log(epoch) / log(max_epochs)
    curve   (n, c)   values before this epoch, padded behind with zeros
    length  (n,)     how many of them there are
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CurveEncoder(nn.Module):
    """A 1-D convolution over (value, is there one), pooled by its mean over the curve and by its last position.

    Padding is masked out, so a curve's code depends on nothing but the curve; the mask is a channel, so that no curve
    differs from a curve of zeros.
    """

    def __init__(self, filters: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(filters, 2, 3, generator=generator, dtype=torch.float64) / 6**0.5)
        self.bias = nn.Parameter(torch.zeros(filters, dtype=torch.float64))

    def forward(self, curve: Tensor, length: Tensor) -> Tensor:
        """(n, 2 * filters)."""
        code = curve.new_zeros(len(curve), 2 * len(self.bias))
        begun = (length > 0).nonzero()[:, 0]
        if len(begun):
            code = code.index_copy(0, begun, self._encode(curve[begun, : int(length.max())], length[begun]))
        return code

    def _encode(self, curve: Tensor, length: Tensor) -> Tensor:
        mask = (torch.arange(curve.shape[1], device=curve.device)[None] < length[:, None]).to(curve.dtype)
        channels = torch.stack([curve * mask, mask], dim=1)
        code = torch.tanh(nn.functional.conv1d(channels, self.weight, self.bias, padding=1)) * mask[:, None]
        mean = code.sum(2) / length[:, None]
        last = code.gather(2, (length - 1)[:, None, None].expand(-1, code.shape[1], 1))[:, :, 0]
        return torch.cat([mean, last], dim=1)


class Features(nn.Module):
    """Linear -> 32 -> tanh -> `n_outputs`, over configuration, fidelity and the code of the curve.

    Small, without batch normalisation: deep kernels over-fit the marginal likelihood (Ober et al. 2021).
    """

    def __init__(self, n_inputs: int, n_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        filters, hidden = 8, 32
        self.encoder = CurveEncoder(filters, generator)
        width = n_inputs + 1 + 2 * filters
        self.w1 = nn.Parameter(torch.randn(width, hidden, generator=generator, dtype=torch.float64) / width**0.5)
        self.b1 = nn.Parameter(torch.zeros(hidden, dtype=torch.float64))
        self.w2 = nn.Parameter(torch.randn(hidden, n_outputs, generator=generator, dtype=torch.float64) / hidden**0.5)

    def forward(self, x: Tensor, t: Tensor, curve: Tensor, length: Tensor) -> Tensor:
        """(n, n_outputs)."""
        h = torch.cat([x, t, self.encoder(curve, length)], dim=1)
        return torch.tanh(h @ self.w1 + self.b1) @ self.w2
