"""Hyperband (Li et al., JMLR 2018) and ASHA (Li et al., MLSys 2020), both continuing trials from where they stopped.

R       max_epochs: the fidelity of a full training
eta     reduction factor: one trial in eta is promoted to the next rung
s       index of a bracket: the number of promotions in it
n_i     trials in rung i of a bracket
r_i     fidelity of rung i, in epochs
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ConfigSpace import ConfigurationSpace

from ..checks import check_count
from ..trial import LearningCurve, Trial
from .base import BaseOptimizer


@dataclass(frozen=True)
class Rung:
    """`n` trials trained to `epoch`."""

    n: int
    epoch: int


def rung_epochs(max_epochs: int, eta: int) -> list[int]:
    """Fidelities R eta^-s, ..., R eta^-1, R, rounded, ascending and distinct; the last is `max_epochs` itself."""
    s_max = brackets_below(max_epochs, eta)
    return sorted({max(1, round(max_epochs / eta**i)) for i in range(s_max + 1)})


def brackets_below(max_epochs: int, eta: int) -> int:
    """s_max = floor(log_eta R), in integers: floating-point logarithms are one short for 243."""
    s_max = 0
    while eta ** (s_max + 1) <= max_epochs:
        s_max += 1
    return s_max


def bracket(s: int, max_epochs: int, eta: int) -> list[Rung]:
    """The rungs of bracket s, Li et al. 2018, Algorithm 1 (lines 3, 4, 6 and 7; r_i rounded to whole epochs)."""
    s_max = brackets_below(max_epochs, eta)
    n = -(-(s_max + 1) * eta**s // (s + 1))  # line 3: ceil(B/R eta^s / (s+1)), B = (s_max + 1) R
    return [Rung(n // eta**i, max(1, round(max_epochs / eta ** (s - i)))) for i in range(s + 1)]


def value_at(curve: LearningCurve, epoch: int) -> float:
    """The last value reported up to `epoch`; -inf where there is none, or where the trial failed before it."""
    if curve.failed is not None and curve.epoch < epoch:
        return -float('inf')
    return next((v for e, v in zip(reversed(curve.epochs), reversed(curve.values)) if e <= epoch), -float('inf'))


def best_first(curves: Sequence[LearningCurve], epoch: int) -> list[LearningCurve]:
    """The curves by their value at `epoch`, the earlier trial first where values tie."""
    return sorted(curves, key=lambda curve: (-value_at(curve, epoch), curve.trial_id))


@dataclass
class Bracket:
    """One successive halving: its rungs, and the trials that started in it."""

    rungs: list[Rung]
    trial_ids: list[int] = field(default_factory=list)


class Hyperband(BaseOptimizer):
    """Hyperband: brackets of successive halving, from many short trials to few long ones, round after round.

    With several steps running at once, the next bracket opens while a rung waits for its last trials. When nothing
    new is left to draw from a finite space, brackets are made up of fewer trials, and at last the paused trials are
    trained to the end, best first.

    Args:
        configuration_space, max_epochs, minimize, seed, initial_configurations, candidates: as in `BaseOptimizer`.
        eta: one trial in eta is promoted; default 3, as in the paper.
        rounds: how often to go round all brackets; default None, for ever.
    """

    def __init__(
        self,
        configuration_space: ConfigurationSpace,
        max_epochs: int,
        *,
        eta: int = 3,
        rounds: int | None = None,
        **race: Any,
    ) -> None:
        super().__init__(configuration_space, max_epochs, **race)
        self.eta = check_count('eta', eta, least=2)
        self.rounds = None if rounds is None else check_count('rounds', rounds)
        self._open: list[Bracket] = []
        self._opened = 0
        self._members: set[int] = set()  # of the rungs that open brackets work on

    def replay(self, trial: Trial) -> None:
        if trial.id not in self.curves:
            self._bracket_with_room().trial_ids.append(trial.id)
            self._members.add(trial.id)
        super().replay(trial)

    def is_alive(self, trial_id: int) -> bool:
        return super().is_alive(trial_id) and (self.space.all_points is not None or trial_id in self._members)

    def _decide(self) -> Trial | None:
        for open_bracket in self._open:
            rung, members = self._standing(open_bracket)
            for trial_id in members:
                if trial_id not in self.running and self._wants(trial_id, rung):
                    return self._continue(self.curves[trial_id], rung.epoch)
            if len(open_bracket.trial_ids) < open_bracket.rungs[0].n:
                trial = self._start(open_bracket.rungs[0].epoch)
                if trial is not None:
                    return trial
        if self.rounds is not None and self._opened >= self.rounds * (brackets_below(self.max_epochs, self.eta) + 1):
            return None
        return self._start(self._next_bracket()[0].epoch) or best_paused(self, self.eta)

    def _learn(self, trial: Trial) -> None:
        self._open = [b for b in self._open if not self._is_finished(b)]
        self._members = {trial_id for b in self._open for trial_id in self._standing(b)[1]}

    def _bracket_with_room(self) -> Bracket:
        for open_bracket in self._open:
            if len(open_bracket.trial_ids) < open_bracket.rungs[0].n:
                return open_bracket
        self._open.append(Bracket(self._next_bracket()))
        self._opened += 1
        return self._open[-1]

    def _next_bracket(self) -> list[Rung]:
        s_max = brackets_below(self.max_epochs, self.eta)
        return bracket(s_max - self._opened % (s_max + 1), self.max_epochs, self.eta)

    def _wants(self, trial_id: int, rung: Rung) -> bool:
        curve = self.curves[trial_id]
        return curve.failed is None and curve.epoch < rung.epoch

    def _standing(self, open_bracket: Bracket) -> tuple[Rung, list[int]]:
        """The rung that the bracket works on, and the trials in it."""
        members = open_bracket.trial_ids
        full = len(members) >= open_bracket.rungs[0].n or self._exhausted()
        for rung, above in zip(open_bracket.rungs, open_bracket.rungs[1:]):
            if not full or any(self._wants(trial_id, rung) for trial_id in members):
                return rung, members
            survivors = [c for c in map(self.curves.__getitem__, members) if value_at(c, rung.epoch) > -float('inf')]
            members = [curve.trial_id for curve in best_first(survivors, rung.epoch)[: above.n]]
        return open_bracket.rungs[-1], members

    def _is_finished(self, open_bracket: Bracket) -> bool:
        rung, members = self._standing(open_bracket)
        return (
            rung is open_bracket.rungs[-1]
            and len(open_bracket.trial_ids) >= open_bracket.rungs[0].n
            and not any(self._wants(trial_id, rung) for trial_id in members)
        )

    def _exhausted(self) -> bool:
        return self.space.all_points is not None and len(self.curves) >= len(self.space.all_points)


class ASHA(BaseOptimizer):
    """ASHA, promotion type: Li et al. 2020, Algorithm 2, with minimum early-stopping rate s = 0.

    Args:
        configuration_space, max_epochs, minimize, seed, initial_configurations, candidates: as in `BaseOptimizer`.
        eta: one trial in eta is promoted; default 3.
    """

    def __init__(self, configuration_space: ConfigurationSpace, max_epochs: int, *, eta: int = 3, **race: Any) -> None:
        super().__init__(configuration_space, max_epochs, **race)
        self.eta = check_count('eta', eta, least=2)
        epochs = rung_epochs(self.max_epochs, self.eta)
        self._rungs: dict[int, list[tuple[float, int]]] = {epoch: [] for epoch in epochs}
        """By epoch: (-value, trial) of those that reached it, best first."""
        self._unfinished: dict[int, None] = {}
        """Trials whose first step was cut short of the lowest rung, by a budget that has since been raised."""

    def _decide(self) -> Trial | None:
        epochs = list(self._rungs)
        for rung, above in reversed(list(zip(epochs, epochs[1:]))):
            reached = self._rungs[rung]
            for _, trial_id in reached[: len(reached) // self.eta]:
                curve = self.curves[trial_id]
                if curve.epoch < above and curve.failed is None and trial_id not in self.running:
                    return self._continue(curve, above)
        for trial_id in self._unfinished:
            if trial_id not in self.running:
                return self._continue(self.curves[trial_id], epochs[0])
        return self._start(epochs[0]) or best_paused(self, self.eta)

    def _learn(self, trial: Trial) -> None:
        curve = self.curves[trial.id]
        for rung, reached in self._rungs.items():
            if trial.previous_epoch < rung <= curve.epoch and value_at(curve, rung) > -float('inf'):
                insort(reached, (-value_at(curve, rung), trial.id))
        self._unfinished.pop(trial.id, None)
        if curve.failed is None and curve.epoch < next(iter(self._rungs)):
            self._unfinished[trial.id] = None


def best_paused(race: BaseOptimizer, eta: int) -> Trial | None:
    """The best trial that is paused, to be trained to the next rung; None where there is none."""
    paused = [c for c in race.curves.values() if race.is_alive(c.trial_id) and c.trial_id not in race.running]
    if not paused:
        return None
    best = best_first(paused, race.max_epochs)[0]
    epoch = next(epoch for epoch in rung_epochs(race.max_epochs, eta) if epoch > best.epoch)
    return Trial(best.trial_id, best.configuration, best.epoch, epoch, best.point)
