"""Stand-ins for what makes unit tests slow or uncertain: the clock, the optimizer, the executor and its workers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from hpo4dl import Trial
from hpo4dl.execution.engines import Call, ExecutorSlot, LostCall
from hpo4dl.trial import Attempt, Outcome


class Clock:
    """Seconds, which pass when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class OurLock:
    """A lock that is ours, as it was when there was none."""

    taken_over = False

    def check(self) -> None:
        pass


class ScriptedOptimizer:
    """Asks for the given steps, one after the other; a trial is alive unless it is said to be `dead`."""

    def __init__(self, steps: Sequence[Trial], log: list[Any] | None = None, gain: float = math.inf) -> None:
        self.steps = list(steps)
        self.log = [] if log is None else log
        """('ask', trial), ('tell', trial, metrics, failed), ('replay', trial) in the order of the calls."""
        self.dead: set[int] = set()
        self.gain = gain

    def ask(self) -> Trial | None:
        trial = self.steps.pop(0) if self.steps else None
        self.log.append(('ask', None if trial is None else trial.id))
        return trial

    def tell(self, trial: Trial, metrics: Mapping[int, float] | None = None, failed: str | None = None) -> None:
        self.log.append(('tell', trial, dict(metrics or {}), failed))

    def replay(self, trial: Trial) -> None:
        self.log.append(('replay', trial))

    def is_alive(self, trial_id: int) -> bool:
        return trial_id not in self.dead

    def expected_gain(self) -> float:
        return self.gain


class CommandExecutor:
    """An executor whose futures are done when a test says so: `futures[i].set_result(...)`."""

    def __init__(self, *refusals: Exception) -> None:
        self.refusals = list(refusals)
        """Raised by the first submits, one each."""
        self.futures: list[Future[Any]] = []
        self.arguments: list[tuple[Any, ...]] = []
        self.shutdowns: list[bool] = []
        """With what `wait` it was shut down, each time."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if self.refusals:
            raise self.refusals.pop(0)
        self.futures.append(Future())
        self.arguments.append((function, *arguments))
        return self.futures[-1]

    def shutdown(self, wait: bool = True) -> None:
        self.shutdowns.append(wait)


class ScriptedWorkers:
    """In the place of `Workers`: each `collect` ends the oldest call, as `play` says, or none where that says None.

    Args:
        play: from an attempt to what comes of it; None: it goes on running.
        room: calls at a time.
    """

    def __init__(self, play: Callable[[Attempt], Outcome | LostCall | None], room: int = 1) -> None:
        self.play = play
        self.room = room
        self.running: dict[int, Call] = {}
        self.attempts: list[Attempt] = []
        self.given_up: list[int] = []
        """Numbers of attempts."""
        self.most_at_once = 0
        self.accepts = True
        self.is_broken: str | None = None

    def has_room(self) -> bool:
        return len(self.running) < self.room

    def submit(self, attempt: Attempt) -> bool:
        self.attempts.append(attempt)
        if not self.accepts:
            self.is_broken = 'no worker'
            return False
        Path(attempt.folder).mkdir(parents=True, exist_ok=True)
        Path(attempt.folder, 'weights').write_text(f'{attempt.trial.id}: {attempt.trial.epoch}'.ljust(10))
        Path(attempt.started_file).touch()
        self.running[attempt.trial.id] = Call(attempt, ExecutorSlot(), None, Future())
        self.most_at_once = max(self.most_at_once, len(self.running))
        return True

    def collect(self, seconds: float) -> Iterator[tuple[Call, Outcome | LostCall]]:
        for trial_id, call in list(self.running.items()):
            outcome = self.play(call.attempt)
            if outcome is not None:
                del self.running[trial_id]
                yield call, outcome
                return

    def give_up(self, call: Call) -> None:
        del self.running[call.attempt.trial.id]
        self.given_up.append(call.attempt.number)

    def broken(self) -> str | None:
        return self.is_broken


class RandomOptimizer:
    """Asks for any step that the protocol allows: of new trials, and of paused ones that did not fail."""

    def __init__(self, random: random.Random, trials: int, max_epochs: int) -> None:
        self.random = random
        self.trials = trials
        self.max_epochs = max_epochs
        self.reached: dict[int, int] = {}
        self.running: set[int] = set()
        self.failed: set[int] = set()

    def ask(self) -> Trial | None:
        free = [i for i in [*self.reached, len(self.reached)] if self._may_go_on(i) and i not in self.running]
        if not free:
            return None
        trial_id = self.random.choice(free)
        reached = self.reached.get(trial_id, 0)
        trial = Trial(trial_id, {'x': trial_id}, reached, self.random.randint(reached + 1, self.max_epochs))
        self.replay(trial)
        return trial

    def replay(self, trial: Trial) -> None:
        assert trial.id not in self.running
        assert trial.previous_epoch == self.reached.setdefault(trial.id, 0)
        self.running.add(trial.id)

    def tell(self, trial: Trial, metrics: Mapping[int, float] | None = None, failed: str | None = None) -> None:
        assert trial.previous_epoch == self.reached[trial.id]
        self.running.remove(trial.id)
        self.reached[trial.id] = trial.epoch if failed is None else max(metrics or {}, default=trial.previous_epoch)
        if failed is not None:
            self.failed.add(trial.id)

    def is_alive(self, trial_id: int) -> bool:
        return self._may_go_on(trial_id)

    def _may_go_on(self, trial_id: int) -> bool:
        return (
            trial_id < self.trials and trial_id not in self.failed and self.reached.get(trial_id, 0) < self.max_epochs
        )
