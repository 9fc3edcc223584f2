"""What an objective function leaves switched in the process changes no decision (Optuna 5663, 2639 and others)."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from ConfigSpace import ConfigurationSpace
from scipy import special
from surrogates import QUICK

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


def to_single_precision() -> None:
    torch.set_default_dtype(torch.float16)


def to_no_device() -> None:
    torch.set_default_device('meta')


SWITCHES = {
    'gradients': lambda: torch.set_grad_enabled(False),
    'a search for anomalies': lambda: torch.autograd.set_detect_anomaly(True),
    'numpy raises': lambda: np.seterr(all='raise'),
    'numpy warns': lambda: np.seterr(all='warn'),
    'scipy raises': lambda: special.seterr(all='raise'),
    'default dtype': to_single_precision,
    'default device': to_no_device,
    'random state': lambda: (torch.manual_seed(7), np.random.seed(7)),  # noqa: NPY002
}


@pytest.mark.parametrize('name', SWITCHES)
def test_what_is_left_switched_changes_no_decision(name: str) -> None:
    expected = decisions(lambda: None)
    numpy, scipy, dtype = np.geterr(), special.geterr(), torch.get_default_dtype()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            assert decisions(SWITCHES[name]) == expected
    finally:
        np.seterr(**numpy)
        special.seterr(**scipy)
        torch.set_default_dtype(dtype)
        torch.set_default_device(None)
        torch.set_grad_enabled(True)
        torch.autograd.set_detect_anomaly(False)


def test_inference_mode_around_it_changes_no_decision() -> None:
    expected = decisions(lambda: None)
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
