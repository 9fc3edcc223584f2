"""Where calls are made: in this process, in processes of our own, or on any executor that follows PEP 3148.

What engines give differs (docs/workers.md), so little is asked of them: `submit` with positional arguments, and
futures with `done` and `result`. What `running` and `cancel` say is not believed; no executor is given more calls than
it has workers; the user's executor is never shut down.

Processes of our own are pools of one each, so that a worker that dies, or is killed because its time is over, takes
no other with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..errors import ArgumentError, ExecutorError
from ..log import Log
from ..text import brief, one_line
from ..trial import Attempt, Objective, Outcome
from .pickling import is_about_pickling, pickling_error
from .processes import GRACE, WorkerProcess
from .worker import run_attempt, run_attempt_in_worker

POLL = 0.05
"""Seconds between two looks at files that mark a start, and at futures that cannot be waited for."""
MAX_STARTUP_FAILURES = 3
"""Consecutive executors that break, or calls that are lost, before any call has begun, after which we give up."""

logger = Log(__name__)


@dataclass(eq=False)
class Call:
    """An attempt that was submitted."""

    attempt: Attempt
    slot: ExecutorSlot
    executor: Any
    future: Any
    started_at: float | None = None
    """When it was seen to have begun, by the monotonic clock."""
    alone: bool = True
    """False: when its executor broke, other calls ran on it, and nobody knows whose fault it was."""
    given_up: bool = False

    def is_done(self) -> bool:
        try:
            return bool(self.future.done())
        except Exception:  # nothing will ever come of it: its client is gone, say; `result` tells
            return True

    def has_begun(self) -> bool:
        """Looks for the file that the worker makes; on shared file systems it may be seen late."""
        if self.started_at is None and os.path.exists(self.attempt.started_file):
            self.started_at = time.monotonic()
        return self.started_at is not None


@dataclass(frozen=True)
class LostCall:
    """What became of a call whose worker died, or that the executor dropped, before it returned."""

    reason: str
    attributable: bool
    """Whether it was this call's own fault; False: it was lost with others, and nobody knows whose fault it was."""


class InlineExecutor:
    """The executor of one worker, this process: a call is over when `submit` returns."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(eq=False)
class ExecutorSlot:
    """An executor and how many calls it may be given at a time."""

    executor: Any = None
    make: Callable[[], Any] | None = None
    """Makes the executor, and makes it anew when it is broken; None: the user's, which we cannot make."""
    capacity: int = 1
    calls: list[Call] = field(default_factory=list)
    """Those that occupy a worker, those that were given up included."""
    broken: str | None = None
    """Why it can never be given a call again."""
    startup_failures: int = 0
    is_fresh: bool = False
    """Whether each call gets an executor of its own."""

    def has_room(self) -> bool:
        """Return whether it may be given a call now."""
        self.calls = [call for call in self.calls if not (call.given_up and call.is_done())]
        return not self.broken and len(self.calls) < self.capacity

    def submit(self, objective_function: Objective, attempt: Attempt) -> Call | None:
        """Start a call; None: the executor takes none, `broken` says why; raises ArgumentError about either."""
        for again in (True, False):
            if self.executor is None and self.make is not None:
                self.executor = self._made(self.make)
            function = run_attempt if isinstance(self.executor, InlineExecutor) else run_attempt_in_worker
            try:
                future = self.executor.submit(function, objective_function, attempt)
                break
            except Exception as error:
                if is_about_pickling(error):
                    raise pickling_error(objective_function, error) from error
                if self.make is None or not again:
                    self.broken = one_line(error)
                    return None
                self.replace_executor()
        if not callable(getattr(future, 'done', None)) or not callable(getattr(future, 'result', None)):
            raise ArgumentError('executor', self.executor, 'one whose `submit` returns futures (`done`, `result`)')
        call = Call(attempt, self, self.executor, future)
        self.calls.append(call)
        return call

    def outcome(self, call: Call, objective_function: Objective) -> Outcome | LostCall:
        """Return what a finished call came to; ArgumentError: it cannot be pickled; ExecutorError: no worker starts."""
        together = [other for other in self.calls if other.executor is call.executor]
        self.calls.remove(call)
        try:
            outcome = call.future.result()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # asyncio's CancelledError, which some engines raise, is no Exception
            if is_about_pickling(error):
                raise pickling_error(objective_function, error) from error
            if not isinstance(error, BrokenExecutor):
                return self._lost(call, error)
            if call.executor is self.executor:
                self._broke(together, error)
            return LostCall(f'its worker died: {one_line(error)}', attributable=call.alone and call.has_begun())
        self.startup_failures = 0
        if self.is_fresh and call.executor is self.executor:
            self.replace_executor()
        if not isinstance(outcome, Outcome):
            return LostCall(f'the executor returned {brief(outcome)}', attributable=True)
        return outcome

    def give_up(self, call: Call) -> None:
        """Do not wait for a call any more. Our own worker is killed; any other is occupied until it ends."""
        call.given_up = True
        if isinstance(call.executor, WorkerProcess):
            self.calls.remove(call)
            self.replace_executor()
        else:
            try:
                call.future.cancel()
            except Exception as error:  # Parsl's raises NotImplementedError, submitit's jobs have none
                logger.debug('a call cannot be cancelled: %s', one_line(error))

    def replace_executor(self) -> None:
        """Let go of the executor; the next call is given to a new one."""
        if isinstance(self.executor, WorkerProcess):
            self.executor.kill()
        elif callable(getattr(self.executor, 'shutdown', None)):
            self.executor.shutdown(wait=False)
        self.executor = None

    def close(self) -> WorkerProcess | None:
        """End what we made, and do not let what still runs elsewhere go on for nobody: the race is over.

        Returns the process that is to be waited for, if there is one.
        """
        ending = None
        for call in self.calls:
            if not isinstance(call.executor, WorkerProcess) and not call.given_up:
                self.give_up(call)
        if isinstance(self.executor, WorkerProcess) and not self.calls:
            ending = self.executor
            ending.shutdown()
            self.executor = None
        elif self.make is not None and self.executor is not None:
            self.replace_executor()
        self.calls = []
        return ending

    @staticmethod
    def _made(make: Callable[[], Any]) -> Any:
        try:
            return make()
        except OSError as error:  # of processes, memory, or open files
            remedy = 'give fewer num_workers, or raise the limits (ulimit -a)'
            raise ExecutorError(f'no worker can be made: {one_line(error)}; {remedy}') from error

    def _lost(self, call: Call, error: BaseException) -> LostCall:
        """Count a lost call: where none begins any more, no worker is left (Dask's NoWorkerError), or can import it."""
        begun = call.has_begun()
        self.startup_failures = 0 if begun else self.startup_failures + 1
        if self.startup_failures >= MAX_STARTUP_FAILURES + self.capacity - 1:  # those given out together count once
            self.broken = f'{self.startup_failures} calls in a row were lost before they began: {one_line(error)}'
        return LostCall(f'the executor lost the call: {one_line(error)}', attributable=begun)

    def _broke(self, together: Sequence[Call], error: BaseException) -> None:
        if self.broken:  # the user's executor, of which another call has told: whose fault it was is said already
            return
        begun = sum(call.has_begun() for call in together)
        for call in together:
            call.alone = begun == 1
        self.startup_failures = 0 if begun else self.startup_failures + 1
        if self.make is None:
            self.broken = one_line(error)
            return
        if self.startup_failures >= MAX_STARTUP_FAILURES:
            raise ExecutorError(
                "workers die before they begin. A script needs `if __name__ == '__main__':` around what it runs, and "
                f'processes import the objective function from its file: {one_line(error)}'
            ) from error
        self.replace_executor()


@dataclass
class Workers:
    """All slots of a race, see `slots_for`, and the calls that run on them."""

    slots: Sequence[ExecutorSlot]
    objective_function: Objective
    running: dict[int, Call] = field(default_factory=dict)
    """By trial, those that are waited for."""

    def has_room(self) -> bool:
        """Return whether a call can be submitted now."""
        return any(slot.has_room() for slot in self.slots)

    def submit(self, attempt: Attempt) -> bool:
        """Start a call where there is room for it, see `ExecutorSlot.submit`; False: that executor is broken."""
        call = next(slot for slot in self.slots if slot.has_room()).submit(self.objective_function, attempt)
        if call is not None:
            self.running[attempt.trial.id] = call
        return call is not None

    def collect(self, seconds: float) -> Iterator[tuple[Call, Outcome | LostCall]]:
        """Wait so many seconds at most; give the `outcome` of calls that are done, in the order of their attempts."""
        done = self._wait(seconds)
        while done:
            call = done.pop(0)
            outcome = call.slot.outcome(call, self.objective_function)
            del self.running[call.attempt.trial.id]
            yield call, outcome

    def give_up(self, call: Call) -> None:
        """Do not wait for a call any more."""
        del self.running[call.attempt.trial.id]
        call.slot.give_up(call)

    def is_this_process(self) -> bool:
        """Return whether calls are made here, one after the other."""
        return all(isinstance(slot.executor, InlineExecutor) for slot in self.slots)

    def broken(self) -> str | None:
        """Return why no call can ever be made again, if so."""
        reasons = [slot.broken for slot in self.slots]
        return reasons[0] if all(reasons) else None

    def close(self) -> None:
        """End what we made: the race is over, or left."""
        self.running = {}
        ending, end = [slot.close() for slot in self.slots], time.monotonic() + GRACE
        for process in ending:
            if process is not None:
                process.join(end)

    def _wait(self, seconds: float) -> list[Call]:
        end = time.monotonic() + seconds
        while True:
            done = [call for call in self.running.values() if call.is_done()]
            remaining = end - time.monotonic()
            if done or remaining <= 0:
                return sorted(done, key=lambda call: call.attempt.number)
            futures = [call.future for call in self.running.values()]
            if all(isinstance(future, Future) for future in futures):
                wait_for(futures, remaining, FIRST_COMPLETED)
            else:  # Dask's own, submitit's jobs, Ray's references
                time.sleep(min(remaining, POLL))


def slots_for(
    executor: Any, num_workers: int, devices: Sequence[str] | None, own_process: bool, is_fresh: bool = False
) -> list[ExecutorSlot]:
    """Return the slots that the tuner's arguments ask for; raises ArgumentError where it is none, nor makes one.

    `devices` is what each process of our own sees; with `own_process`, even a single worker is one; with
    `is_fresh`, each call gets a new one.
    """
    if executor is None and num_workers == 1 and not own_process:
        return [ExecutorSlot(InlineExecutor())]
    if executor is None:
        seen: Sequence[str | None] = [None] * num_workers if devices is None else devices[:num_workers]
        return [ExecutorSlot(make=partial(WorkerProcess, device), is_fresh=is_fresh) for device in seen]
    if not isinstance(executor, type) and callable(getattr(executor, 'submit', None)):
        return [ExecutorSlot(executor, capacity=num_workers)]
    if callable(executor):
        return [ExecutorSlot(make=executor, capacity=num_workers)]
    raise ArgumentError('executor', executor, 'an object with `submit`, as concurrent.futures has them, or its maker')
