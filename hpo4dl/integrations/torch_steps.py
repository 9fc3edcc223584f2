"""What the steps of the torch optimizers of a process start from, recorded during one call of an objective function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import optimizer as hooks


@dataclass
class Snapshot:
    """What a step of an optimizer starts from."""

    weights: list[torch.Tensor]
    state: Any
    """The optimizer's own, such as momentum."""
    settings: list[dict[str, Any]]
    """Learning rate and the like, by group."""


class Steps:
    """Records the steps of the torch optimizers of this process during one call.

    Optimizers are numbered in the order in which they first step.

    Args:
        at: for each optimizer, the number of the step to record; 0, the first one, where none is given.
    """

    def __init__(self, at: Sequence[int] = ()) -> None:
        self.counts: list[int] = []
        self.rates: list[list[list[float]]] = []
        """By optimizer and step: the learning rates of the parameter groups."""
        self.before_step: dict[int, Snapshot] = {}
        """By optimizer: what the recorded step started from."""
        self.gradients: dict[int, torch.Tensor] = {}
        """By optimizer: all gradients of the recorded step, flat."""
        self.after_call: list[Snapshot] = []
        """By optimizer: what a further step would start from."""
        self._at = at
        self._optimizers: list[torch.optim.Optimizer] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Hooks into every optimizer of the process."""
        handles = [hooks.register_optimizer_step_pre_hook(self._on_step)]
        handles.append(hooks.register_optimizer_step_post_hook(self._after_step))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self.after_call = [take_snapshot(optimizer) for optimizer in self._optimizers]
            self._optimizers.clear()

    def _index(self, optimizer: torch.optim.Optimizer) -> int:
        return next((i for i, known in enumerate(self._optimizers) if known is optimizer), -1)

    def _is_watched_step(self, i: int) -> bool:
        return self.counts[i] == (self._at[i] if i < len(self._at) else 0)

    def _on_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if self._index(optimizer) < 0:
            self._optimizers.append(optimizer)
            self.counts.append(0)
            self.rates.append([])
        i = self._index(optimizer)
        self.rates[i].append([float(group['lr']) for group in optimizer.param_groups])
        if self._is_watched_step(i):
            self.before_step[i] = take_snapshot(optimizer)

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        i = self._index(optimizer)
        if self._is_watched_step(i):
            gradients = [p.grad.detach().double().cpu().ravel() for p in _parameters(optimizer) if p.grad is not None]
            self.gradients[i] = torch.cat(gradients or [torch.zeros(0)])
        self.counts[i] += 1


def take_snapshot(optimizer: torch.optim.Optimizer) -> Snapshot:
    """Return a copy of what the optimizer's next step starts from."""
    kept = optimizer.state_dict()
    settings = [{name: _copy(v) for name, v in group.items() if name != 'params'} for group in kept['param_groups']]
    return Snapshot([_copy(p) for p in _parameters(optimizer)], _copy(kept['state']), settings)


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group['params']]


def _copy(value: Any) -> Any:
    """Return the value, its tensors copied to the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to('cpu', copy=True)
    if isinstance(value, Mapping):
        return {key: _copy(entry) for key, entry in value.items()}
    return [_copy(entry) for entry in value] if isinstance(value, (list, tuple)) else value
