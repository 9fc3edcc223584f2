"""What an objective function leaves switched in the process changes no decision (Optuna 5663, 2639 and others)."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ConfigSpace import ConfigurationSpace
from scipy import special
from surrogates import QUICK
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import disable_saved_tensors_hooks, saved_tensors_hooks
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from hpo4dl import DyHPO


def decisions(switch: Callable[[], object]) -> list[tuple]:
    """Of a race whose every objective call, and the first one before the optimizer is made, switches something."""
    switch()
    optimizer = DyHPO(ConfigurationSpace({'x': (0.0, 1.0), 'y': (0.0, 1.0)}), 9, seed=0, policy=QUICK)
    asked = []
    for n in range(30):
        trial = optimizer.ask()
        asked.append((trial.id, repr(trial.configuration), trial.epoch))
        tiny = 1e-300 if n % 5 == 0 else 1.0
        optimizer.tell(trial, metrics=[tiny * (trial.configuration['x'] - 0.3) ** 2])
        switch()
    asked.append(optimizer.forecast(optimizer.curves[0], [9], [0.1, 0.9]).tolist())
    asked.append(optimizer.expected_gain())
    return asked


@functools.cache
def expected_decisions() -> list[tuple]:
    """Where nothing is switched."""
    return decisions(lambda: None)


def to_single_precision() -> None:
    torch.set_default_dtype(torch.float16)


def to_no_device() -> None:
    torch.set_default_device('meta')


def refuse(*_: object) -> None:
    raise RuntimeError('none of ours')


class OfOperations(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        refuse()


class OfFunctions(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        refuse()


def entered(make: Callable[[], Any]) -> Callable[[], object]:
    """Enters a context of torch, once, and does not leave it."""
    return lambda: LEFT or LEFT.append(make()) or LEFT[0].__enter__()


LEFT: list[Any] = []
HANDLES: list[RemovableHandle] = []
SWITCHES = {
    'gradients': lambda: torch.set_grad_enabled(False),
    'a search for anomalies': lambda: torch.autograd.set_detect_anomaly(True),
    'numpy raises': lambda: np.seterr(all='raise'),
    'numpy warns': lambda: np.seterr(all='warn'),
    'scipy raises': lambda: special.seterr(all='raise'),
    'default dtype': to_single_precision,
    'default device': to_no_device,
    'hooks on saved tensors': entered(lambda: saved_tensors_hooks(refuse, refuse)),
    'hooks forbidden': entered(lambda: disable_saved_tensors_hooks('forbidden')),
    'a mode of operations': entered(OfOperations),
    'a mode of functions': entered(OfFunctions),
    'fake tensors': entered(FakeTensorMode),
    'half precision': entered(lambda: torch.autocast('cpu')),
    'hooks on modules': lambda: HANDLES.append(register_module_forward_hook(refuse)),
    'deterministic algorithms': lambda: torch.use_deterministic_algorithms(True),
    'less precise products': lambda: torch.set_float32_matmul_precision('medium'),
    'threads': lambda: torch.set_num_threads(2),
    'random state': lambda: (torch.manual_seed(7), np.random.seed(7)),  # noqa: NPY002
}


@pytest.mark.parametrize('name', SWITCHES)
def test_what_is_left_switched_changes_no_decision(name: str) -> None:
    expected = expected_decisions()
    numpy, scipy, dtype, threads = np.geterr(), special.geterr(), torch.get_default_dtype(), torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            assert decisions(SWITCHES[name]) == expected
    finally:
        while LEFT:
            LEFT.pop().__exit__(None, None, None)
        while HANDLES:
            HANDLES.pop().remove()
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        np.seterr(**numpy)
        special.seterr(**scipy)
        torch.set_default_dtype(dtype)
        torch.set_default_device(None)
        torch.set_grad_enabled(True)
        torch.autograd.set_detect_anomaly(False)


def test_inference_mode_around_it_changes_no_decision() -> None:
    expected = expected_decisions()
    with torch.inference_mode():
        assert decisions(lambda: None) == expected
    with torch.no_grad():
        assert decisions(lambda: None) == expected


def test_metrics_of_any_size_are_raced_to_the_end() -> None:
    """Also those that differ by less than floating point can divide by."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        optimizer = DyHPO(ConfigurationSpace({'x': (0.0, 1.0)}), 9, seed=0, policy=QUICK)
        for _ in range(40):
            trial = optimizer.ask()
            metrics = rng.uniform(-1, 1, trial.epoch - trial.previous_epoch) * 10 ** rng.uniform(-320, -290)
            optimizer.tell(trial, metrics=metrics.tolist())
        assert not np.isnan(optimizer.expected_gain())
        assert np.isfinite(optimizer.forecast(optimizer.curves[0], [9], [0.1, 0.5, 0.9])).all()
