"""Check that resuming from a checkpoint gives the same training as not stopping.

hpo4dl decides on learning curves, and a checkpoint that forgets something (the optimizer's momentum, the position in
the schedule, the random state) bends them silently. `check_objective` trains once without a break and once through a
checkpoint, and compares the metrics. Where a torch optimizer steps in this process, it also compares what the first
step after the break starts from: weights, optimizer state, learning rate, gradient.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ConfigSpace import ConfigurationSpace

from ..checks import check_count
from ..errors import ArgumentError
from ..execution.worker import call_objective
from ..integrations.torch_checkpoint import random_state, set_random_state
from ..integrations.torch_steps import Steps
from ..space.declaration import as_space
from ..space.unit_cube import Space
from ..trial import Configuration, Objective, Outcome, Trial

TOLERANCE = 1e-6
"""Relative difference up to which metrics, weights and gradients count as equal."""


@dataclass(repr=False)
class ObjectiveCheck:
    """What `check_objective` found; shown, it is a report for people. Fields are None where it could not be seen."""

    configuration: Configuration
    """What was trained."""
    epochs: int
    """The break came after that many epochs; twice as many were trained."""
    at_once: dict[int, float] = field(default_factory=dict)
    """Metrics by epoch of the training without a break."""
    in_two: dict[int, float] = field(default_factory=dict)
    """Metrics by epoch of the training through a checkpoint."""
    repeatable: bool | None = None
    """Whether the same random state gave the same metrics before the break."""
    weights: bool | None = None
    """Whether the first step after the break started from the weights that the last step before it left."""
    optimizer: bool | None = None
    """Whether the optimizer's state, such as momentum, went on likewise."""
    scheduler: bool | None = None
    """Whether that step had the learning rate, and other settings, of the same step without a break."""
    random_state: bool | None = None
    """Whether that step had the gradient of the same step without a break: the same data, augmentation and dropout."""
    problems: list[str] = field(default_factory=list)
    """What should be fixed before tuning; empty if nothing was found."""
    notes: list[str] = field(default_factory=list)
    """What is worth knowing, but no fault."""
    traceback: str | None = None
    """Of the exception that the objective function raised, if it raised one."""
    seconds_per_epoch: float | None = None
    """Of training, on average."""
    checkpoint_bytes: int | None = None
    """How large the checkpoint was at the end."""

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def __repr__(self) -> str:
        n = self.epochs
        lines = [f'{n} + {n} epochs against {2 * n}: ' + ('no problem found' if self.ok else 'NOT as it should be')]
        lines += [f'  PROBLEM: {problem}' for problem in self.problems] + [f'  note: {note}' for note in self.notes]
        lines.append(f'  configuration: {self.configuration}')
        for epoch in sorted({*self.at_once, *self.in_two}):
            once, two = (f'{m[epoch]:.6g}' if epoch in m else '-' for m in (self.at_once, self.in_two))
            lines.append(f'  epoch {epoch}: metric {once} at once, {two} through the checkpoint')
        said = {True: 'yes', False: 'NO', None: 'could not be seen'}
        lines += [f'  restores the {name.replace("_", " ")}: {said[getattr(self, name)]}' for name in PARTS]
        if self.seconds_per_epoch is not None:
            lines.append(f'  an epoch takes {self.seconds_per_epoch:.3g} s')
        if self.checkpoint_bytes is not None:
            lines.append(f'  a checkpoint takes {self.checkpoint_bytes / 1e6:.3g} MB')
        return '\n'.join(lines + ([self.traceback.rstrip()] if self.traceback else []))


PARTS = ('weights', 'optimizer', 'scheduler', 'random_state')


def check_objective(
    objective_function: Objective,
    configuration_space: ConfigurationSpace | dict[str, Any],
    *,
    configuration: Mapping[str, object] | None = None,
    epochs: int = 2,
    seed: int = 0,
    storage_path: str | os.PathLike[str] | None = None,
) -> ObjectiveCheck:
    """Train 2 + 2 epochs through a checkpoint and 4 epochs without a break, and compare: does it restore everything?

    All trainings run in this process and start from the same random state; the caller's is restored at the end. Where
    the two disagree before the break, the first part is trained once more, to see whether it is repeatable at all.

    Args:
        objective_function, configuration_space: as in `Tuner`.
        configuration: a dictionary, what to train; default: the space's default configuration.
        epochs: how many before the break, and after it; default 2.
        seed: of the random state that the trainings begin with; default 0.
        storage_path: where the checkpoints lie as long as it takes; default: the system's folder for temporary files.

    Raises:
        ArgumentError: an argument cannot be used. What the objective function does is reported, never raised.
    """
    if not callable(objective_function):
        raise ArgumentError('objective_function', objective_function, 'a function')
    space = Space(configuration_space)
    if configuration is None:
        configuration = dict(as_space(configuration_space).get_default_configuration())
    configuration = space.from_unit(space.to_unit(configuration))
    found = ObjectiveCheck(configuration, check_count('epochs', epochs))
    seed = check_count('seed', seed, least=0)
    if storage_path is not None and not os.path.isdir(storage_path):
        raise ArgumentError('storage_path', os.fspath(storage_path), 'a folder that exists')
    state = random_state()
    try:
        with tempfile.TemporaryDirectory(prefix='hpo4dl_', dir=storage_path, ignore_cleanup_errors=True) as folder:
            _train_and_compare(found, objective_function, Path(folder), seed)
    finally:
        set_random_state(state)
    return found


def _train_and_compare(found: ObjectiveCheck, objective_function: Objective, folder: Path, seed: int) -> None:
    n = found.epochs

    def train(name: str, epoch: int, previous_epoch: int, seed: int, at: Sequence[int] = ()) -> tuple[Outcome, Steps]:
        """Call the objective function once from this random state, and record the steps of its optimizers."""
        path, steps = folder / name, Steps(at)
        path.mkdir(exist_ok=True)
        seed_all(seed)
        with steps.watched():
            outcome = call_objective(objective_function, Trial(0, found.configuration, previous_epoch, epoch), path)
        if outcome.failed is not None:
            found.traceback = outcome.traceback
            raise CallFailed(f'training from epoch {previous_epoch} to {epoch}: {outcome.failed}')
        return outcome, steps

    try:
        first, before = train('resumed', n, 0, seed)
        uninterrupted, whole = train('uninterrupted', 2 * n, 0, seed, at=before.counts)
        # The tuner, too, gives every call a folder of another name, and trains other trials in between.
        shutil.move(folder / 'resumed', folder / 'moved')
        second, after = train('moved', 2 * n, n, seed + 1)
        found.at_once, found.in_two = uninterrupted.metrics, {**first.metrics, **second.metrics}
        found.seconds_per_epoch = (first.seconds + uninterrupted.seconds + second.seconds) / (4 * n)
        found.checkpoint_bytes = sum(file.stat().st_size for file in (folder / 'moved').rglob('*') if file.is_file())
        optimizers = set(range(len(before.after_call)))
        is_seen = len(optimizers) > 0 and optimizers == set(whole.before_step) == set(after.before_step)
        unbroken = not is_seen or _same(
            [s.weights for s in before.after_call], [whole.before_step[i].weights for i in sorted(whole.before_step)]
        )
        same_start = all(_close(m, uninterrupted.metrics.get(e, m)) for e, m in first.metrics.items())
        found.repeatable = unbroken and same_start
        if is_seen:
            _compare_steps(found, before, whole, after, unbroken)
        if not found.repeatable:
            again, repeated = train('again', n, 0, seed)
            same = _same([s.weights for s in before.after_call], [s.weights for s in repeated.after_call])
            depends_on_epoch = same and again.metrics == first.metrics
            found.problems += [DEPENDS_ON_EPOCH] if depends_on_epoch else []
            found.notes += [] if depends_on_epoch else [NOT_REPEATABLE]
    except CallFailed as error:
        found.problems.append(str(error))
        return
    _judge_metrics(found)


def _judge_metrics(found: ObjectiveCheck) -> None:
    """Say what does not come back after the break, by what was compared and by the metrics."""
    n = found.epochs
    lost = [name.replace('_', ' ') for name in PARTS if getattr(found, name) is False]
    differ = [e for e, metric in found.at_once.items() if e > n and not _close(metric, found.in_two.get(e))]
    if lost:
        found.problems.append(f'the checkpoint does not restore: {", ".join(lost)}')
    elif differ and found.repeatable:
        seen = ' beside weights, optimizer, learning rate and random state' if found.weights is not None else ''
        found.problems.append(f'the metrics of epochs {differ} differ: the checkpoint does not restore something{seen}')
    elif found.weights is None and len(found.at_once) > len({*found.at_once.values()}) == 1:
        found.notes.append('the metric was the same after every epoch, so it tells nothing: give another configuration')
    if len(found.in_two) < 2 * n:
        found.notes.append(f'only the epochs {list(found.in_two)} have a metric: one an epoch lets hpo4dl see more')


DEPENDS_ON_EPOCH = (
    'the first epochs depend on the epoch that the call goes to: something, such as the length of a schedule, is '
    'computed from `epoch`, which is where this call ends; the longest training (max_epochs) is what it should be'
)
NOT_REPEATABLE = (
    'the same random state does not give the same training (kernels that add in any order, or a random generator that '
    "is not Python's, NumPy's or torch's global one), so metrics that differ after the break tell nothing"
)


class CallFailed(Exception):
    """A call of the objective function failed, so that there is nothing to compare."""


def _compare_steps(found: ObjectiveCheck, before: Steps, whole: Steps, after: Steps, unbroken: bool) -> None:
    """Compare what the first steps after the break start from with the same steps without a break."""
    resumed, expected = ([steps.before_step[i] for i in sorted(steps.before_step)] for steps in (after, whole))
    found.weights = _same([s.weights for s in before.after_call], [s.weights for s in resumed])
    found.optimizer = _same([s.state for s in before.after_call], [s.state for s in resumed])
    rates = [rates[count:] for rates, count in zip(whole.rates, before.counts)]
    same_rates = all(_same(a, b) for own, other in zip(rates, after.rates) for a, b in zip(own, other))
    found.scheduler = same_rates and _same([s.settings for s in expected], [s.settings for s in resumed])
    if found.weights and (found.repeatable or not unbroken):
        # Trainings that differ by rounding have gradients that are alike; those of other data are not.
        limit = TOLERANCE if unbroken else 0.01
        pairs = [(whole.gradients[i], after.gradients[i]) for i in sorted(whole.gradients)]
        found.random_state = all(
            len(a) == len(b) and float((a - b).norm()) <= limit * float(a.norm() + b.norm()) for a, b in pairs
        )


def seed_all(seed: int) -> None:
    """Seed the global random states of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def _same(a: Any, b: Any) -> bool:
    """Return whether two copies are equal, up to rounding; None in a mapping is the same as nothing."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=TOLERANCE, atol=0.0, equal_nan=True)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return all(_same(a.get(key), b.get(key)) for key in {*a, *b})
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, float):
        return _close(a, b)
    return type(a) is type(b) and bool(a == b)


def _close(a: float, b: float | None) -> bool:
    return b is not None and abs(a - b) <= TOLERANCE * max(abs(a), abs(b))
