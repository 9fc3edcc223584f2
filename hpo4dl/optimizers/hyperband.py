"""Hyperband (Li et al., JMLR 2018) and ASHA (Li et al., MLSys 2020), both continuing trials from where they stopped.

R       max_epochs: the fidelity of a full training
eta     reduction factor: one trial in eta is promoted to the next rung
s       index of a bracket: the number of promotions in it
n_i     trials in rung i of a bracket
r_i     fidelity of rung i, in epochs
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
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
    """The last value reported up to `epoch`; -inf where there is none."""
    return next((v for e, v in zip(reversed(curve.epochs), reversed(curve.values)) if e <= epoch), -float('inf'))


def best_first(curves: Sequence[LearningCurve], epoch: int) -> list[LearningCurve]:
    """The curves by their value at `epoch`, the earlier trial first where values tie."""
    return sorted(curves, key=lambda curve: (-value_at(curve, epoch), curve.trial_id))


@dataclass(eq=False)
class Bracket:
    """One successive halving: its rungs, and the trials that started in it."""

    rungs: list[Rung]
    trial_ids: list[int] = field(default_factory=list)
    at: int = 0
    """The index of the rung that it works on."""
    members: set[int] = field(default_factory=set)
    """The trials in that rung."""
    unfinished: dict[int, None] = field(default_factory=dict)
    """Those that are to be trained to it, in their order."""

    @property
    def rung(self) -> Rung:
        """The rung that it works on."""
        return self.rungs[self.at]

    @property
    def is_last(self) -> bool:
        """Whether it works on its last rung."""
        return self.at == len(self.rungs) - 1

    def has_room(self) -> bool:
        """Whether trials may still be started in it."""
        return len(self.trial_ids) < self.rungs[0].n


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
        self._bracket_of: dict[int, Bracket] = {}
        self._found_nothing_new = False

    def replay(self, trial: Trial) -> None:
        if trial.id not in self.curves:
            found = self._bracket_of[trial.id] = self._bracket_with_room()
            found.trial_ids.append(trial.id)
            found.members.add(trial.id)
            found.unfinished[trial.id] = None
        elif not self._is_member(trial.id):
            self._found_nothing_new = True
        super().replay(trial)

    def is_alive(self, trial_id: int) -> bool:
        is_left = self.space.all_points is not None or self._found_nothing_new
        return super().is_alive(trial_id) and (is_left or self._is_member(trial_id))

    def _decide(self) -> Trial | None:
        for open_bracket in self._open:
            self._advance(open_bracket)
            for trial_id in open_bracket.unfinished:
                if trial_id not in self.running:
                    return self._continue(self.curves[trial_id], open_bracket.rung.epoch)
            if open_bracket.has_room():
                trial = self._start(open_bracket.rungs[0].epoch)
                if trial is not None:
                    return trial
        if self.rounds is not None and self._opened >= self.rounds * (brackets_below(self.max_epochs, self.eta) + 1):
            return None
        trial = self._start(self._next_bracket()[0].epoch)
        self._found_nothing_new = self._found_nothing_new or trial is None
        return trial or best_paused(self, self.eta)

    def _learn(self, trial: Trial) -> None:
        touched = self._bracket_of[trial.id]
        if not self._wants(trial.id, touched.rung):
            touched.unfinished.pop(trial.id, None)
        for open_bracket in self._open:
            self._advance(open_bracket)
        self._open = [b for b in self._open if b.unfinished or b.has_room() or not b.is_last]

    def _bracket_with_room(self) -> Bracket:
        for open_bracket in self._open:
            if open_bracket.has_room():
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

    def _is_member(self, trial_id: int) -> bool:
        """Whether an open bracket works on it."""
        own = self._bracket_of[trial_id]
        return trial_id in own.members and own in self._open

    def _advance(self, open_bracket: Bracket) -> None:
        """Let the bracket go on, rung by rung, as far as all of its trials are trained."""
        is_exhausted = self.space.all_points is not None and len(self.curves) >= len(self.space.all_points)
        is_full = is_exhausted or not open_bracket.has_room()
        while is_full and not open_bracket.unfinished and not open_bracket.is_last:
            rung, above = open_bracket.rungs[open_bracket.at : open_bracket.at + 2]
            curves = [self.curves[i] for i in open_bracket.trial_ids if i in open_bracket.members]
            survivors = [curve for curve in curves if curve.failed is None]
            members = [curve.trial_id for curve in best_first(survivors, rung.epoch)[: above.n]]
            open_bracket.at += 1
            open_bracket.members = set(members)
            open_bracket.unfinished = dict.fromkeys(i for i in members if self._wants(i, above))


class ASHA(BaseOptimizer):
    """ASHA, promotion type: Li et al. 2020, Algorithm 2, with minimum early-stopping rate s = 0.

    Args:
        configuration_space, max_epochs, minimize, seed, initial_configurations, candidates: as in `BaseOptimizer`.
        eta: one trial in eta is promoted; default 3.
    """

    def __init__(self, configuration_space: ConfigurationSpace, max_epochs: int, *, eta: int = 3, **race: Any) -> None:
        super().__init__(configuration_space, max_epochs, **race)
        self.eta = check_count('eta', eta, least=2)
        self._rungs = {epoch: RungTrials() for epoch in rung_epochs(self.max_epochs, self.eta)}
        self._unfinished: dict[int, None] = {}
        """Trials whose first step was cut short of the lowest rung, by a budget that has since been raised."""

    def _decide(self) -> Trial | None:
        epochs = list(self._rungs)
        for rung, above in reversed(list(zip(epochs, epochs[1:]))):
            for trial_id in self._rungs[rung].to_promote(self.eta):
                if trial_id not in self.running:
                    return self._continue(self.curves[trial_id], above)
        for trial_id in self._unfinished:
            if trial_id not in self.running:
                return self._continue(self.curves[trial_id], epochs[0])
        return self._start(epochs[0]) or best_paused(self, self.eta)

    def _learn(self, trial: Trial) -> None:
        curve = self.curves[trial.id]
        epochs = list(self._rungs)
        for rung, above in zip(epochs, [*epochs[1:], 0]):
            reached = self._rungs[rung]
            if trial.previous_epoch < rung <= curve.epoch and value_at(curve, rung) > -float('inf'):
                reached.add(trial.id, value_at(curve, rung))
            if curve.failed is not None or curve.epoch >= above:
                reached.promoted(trial.id)
        self._unfinished.pop(trial.id, None)
        if curve.failed is None and curve.epoch < epochs[0]:
            self._unfinished[trial.id] = None


class RungTrials:
    """The trials that reached a rung of ASHA: (-value, trial), best first."""

    def __init__(self) -> None:
        self._all: list[tuple[float, int]] = []
        self._waiting: list[tuple[float, int]] = []
        """Those that may be promoted, in the same order."""
        self._entries: dict[int, tuple[float, int]] = {}
        """By trial, of those that wait."""

    def add(self, trial_id: int, value: float) -> None:
        """A trial reached the rung."""
        entry = self._entries[trial_id] = (-value, trial_id)
        insort(self._all, entry)
        insort(self._waiting, entry)

    def promoted(self, trial_id: int) -> None:
        """A trial is beyond the rung, or failed: it waits no longer, if it did."""
        entry = self._entries.pop(trial_id, None)
        if entry is not None:
            del self._waiting[bisect_left(self._waiting, entry)]

    def to_promote(self, eta: int) -> Iterator[int]:
        """The trials that wait and are among the best 1/eta, best first."""
        n = len(self._all) // eta
        for entry in self._waiting if n else ():
            if entry > self._all[n - 1]:
                return
            yield entry[1]


def best_paused(race: BaseOptimizer, eta: int) -> Trial | None:
    """The best trial that is paused, to be trained to the next rung; None where there is none."""
    paused = [c for c in race.curves.values() if race.is_alive(c.trial_id) and c.trial_id not in race.running]
    if not paused:
        return None
    best = min(paused, key=lambda curve: (-value_at(curve, race.max_epochs), curve.trial_id))
    epoch = next(epoch for epoch in rung_epochs(race.max_epochs, eta) if epoch > best.epoch)
    return Trial(best.trial_id, best.configuration, best.epoch, epoch, best.point)
