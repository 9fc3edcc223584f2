"""The parts of a race that a tuner's arguments ask for: who decides, where calls are made, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from .checks import check_count, check_flag
from .errors import ArgumentError
from .execution.engines import Workers, slots_for
from .execution.pickling import check_picklable
from .execution.processes import check_devices
from .execution.worker import TrainsAttempts
from .observers import Observers
from .optimizers.base import BaseOptimizer
from .optimizers.protocol import Forecasts, Optimizer
from .optimizers.registry import OPTIMIZERS, check_agrees
from .periphery import check_place
from .settings import Settings
from .space.unit_cube import Space
from .trial import Objective


def parts_of(given: Mapping[str, Any], settings: Settings, space: Space) -> tuple[Optimizer, Workers, Observers]:
    """Return the parts that the arguments of `Tuner`, or of `Tuner.resume`, ask for; raises ArgumentError."""
    objective_function: Objective = given['objective_function']
    if isinstance(objective_function, TrainsAttempts):
        objective_function.check_names(space.names)
    chosen = chosen_optimizer(given['optimizer'], settings, space)
    observers = Observers(given['callbacks'], given['progress'], settings.max_budget, settings.cost, given['quiet'])
    return chosen, workers_of(given, settings.trial_timeout), observers


def build_optimizer(settings: Settings, space: Space) -> BaseOptimizer:
    """Return the optimizer that the settings name, knowing nothing yet."""
    special: dict[str, Any] = {}
    bounds = (settings.max_budget, settings.time_limit, settings.target)
    if settings.optimizer == 'dyhpo':
        special = {'num_configurations': settings.num_configurations, 'device': settings.device}
    elif settings.optimizer == 'hyperband' and all(bound is None for bound in bounds):
        special = {'rounds': 1}
    return OPTIMIZERS[str(settings.optimizer)](
        space,
        settings.max_epochs,
        minimize=settings.minimize,
        seed=settings.seed,
        initial_configurations=[space.restore(plain) for plain in settings.initial_configurations],
        **special,
    )


def chosen_optimizer(given: Any, settings: Settings, space: Space) -> Optimizer:
    """Return the optimizer that the settings name, else the given one; ArgumentError where that does not fit them."""
    chosen: Optimizer = given if settings.optimizer is None else build_optimizer(settings, space)
    if chosen is given and isinstance(chosen, BaseOptimizer):
        check_agrees(chosen, settings.max_epochs, settings.minimize, space)
    if settings.stop_when_gain_below is not None and not isinstance(chosen, Forecasts):
        accepted = f'None: {type(chosen).__name__} expects nothing, DyHPO does'
        raise ArgumentError('stop_when_gain_below', settings.stop_when_gain_below, accepted)
    return chosen


def workers_of(given: Mapping[str, Any], trial_timeout: float | None) -> Workers:
    """Return the workers that the arguments of `Tuner` ask for; raises ArgumentError."""
    objective_function, executor, devices = given['objective_function'], given['executor'], given['devices']
    n, is_fresh = check_count('num_workers', given['num_workers']), check_flag('fresh_process', given['fresh_process'])
    if executor is not None and devices is not None:
        raise ArgumentError('devices', devices, 'None with an executor: its engine gives its workers theirs')
    if executor is not None and is_fresh:
        raise ArgumentError('fresh_process', is_fresh, 'False with an executor: that makes its own workers')
    per_trial, per_device = (check_count(name, given[name]) for name in ('devices_per_trial', 'trials_per_device'))
    seen = check_devices(devices, n, per_trial, per_device)
    own_process = executor is None and (n > 1 or seen is not None or trial_timeout is not None or is_fresh)
    check_place(objective_function, n if own_process else 0)
    if own_process or isinstance(executor, ProcessPoolExecutor):
        check_picklable(objective_function)
    return Workers(slots_for(executor, n, seen, own_process, is_fresh), objective_function)
