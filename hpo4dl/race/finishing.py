"""Which trials are worth training to the end, and in what steps."""

from __future__ import annotations

from ..optimizers.protocol import Optimizer, Predicts
from ..records.state import RunState
from ..trial import Trial


def most_promising(optimizer: Optimizer, state: RunState) -> list[int]:
    """Return the trials that may go on or are complete, the best first, by the metric that is predicted at the end.

    Where it predicts nothing, the best metric so far counts.
    """
    trials = [t.id for t in state.trials.values() if t.failed is None and t.best is not None]
    if isinstance(optimizer, Predicts) and trials:
        promise = dict(zip(trials, optimizer.predicted_ends(trials)))
    else:
        sign = -1.0 if state.minimize else 1.0
        promise = {i: sign * best.metric for i in trials if (best := state.trials[i].best) is not None}
    return sorted(trials, key=lambda trial_id: (-promise[trial_id], trial_id))


def to_finish(optimizer: Optimizer, state: RunState, top: int) -> list[int]:
    """Return the `top` trials to train to the end after a race: the most promising ones, and the incumbent's."""
    ranked = most_promising(optimizer, state)
    best = None if state.incumbent is None else state.incumbent.trial
    chosen = ranked[:top]
    return [*chosen[: top - 1], best] if best in ranked and best not in chosen else chosen


def unfinished(state: RunState, max_epochs: int) -> list[int]:
    """Return the trials to finish after the race that are not trained to the end yet."""
    trials = [state.trials[trial_id] for trial_id in state.finishing]
    return [trial.id for trial in trials if trial.failed is None and trial.epoch < max_epochs]


def next_step(trial_id: int, max_epochs: int, state: RunState) -> Trial:
    """Return the step that brings a trial nearer to its end, no longer than the longest call that has worked."""
    trial = state.trials[trial_id]
    starts_at = trial.epoch if trial_id in state.checkpoints else 0
    epoch = min(max(starts_at + state.longest_call, trial.epoch + 1), max_epochs)
    return Trial(trial_id, trial.configuration, trial.epoch, epoch, trial.point)
