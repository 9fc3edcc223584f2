"""Adam (Kingma & Ba 2015, Algorithm 1). That of torch imports torch's compiler: 1.7 s of processor time and 71 MB."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Adam over some tensors, each with a step size of its own.

    Args:
        parameters: (tensor that requires a gradient, step size) pairs.
    """

    def __init__(self, parameters: Sequence[tuple[Tensor, float]]) -> None:
        self._parameters = [(p, size, torch.zeros_like(p), torch.zeros_like(p)) for p, size in parameters]
        self._steps = 0

    @torch.no_grad()
    def step(self, loss: Tensor) -> None:
        """Change the parameters in place, along the gradient of `loss`, a scalar."""
        self._steps += 1
        gradients = torch.autograd.grad(loss, [p for p, *_ in self._parameters])
        for (p, size, first, second), gradient in zip(self._parameters, gradients):
            first.lerp_(gradient, 1 - BETA_1)
            second.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
            root = second.sqrt().div_((1 - BETA_2**self._steps) ** 0.5).add_(EPSILON)
            p.addcdiv_(first, root, value=-size / (1 - BETA_1**self._steps))
