"""Where calls are made: in this process, in processes of our own, or on any executor that follows PEP 3148.

What engines give differs (README, "Many workers"), so little is asked of them: `submit` with positional arguments, and
futures with `done` and `result`. What `running` and `cancel` say is not believed; no executor is given more calls than
it has workers; the user's executor is never shut down.

Processes of our own are pools of one each, so that a worker that dies, or is killed because its time is over, takes
no other with it. They are spawned: forked ones would inherit threads and CUDA contexts, and hang.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from types import FunctionType, MethodType
from typing import Any

from ..errors import ArgumentError, ExecutorError
from ..text import brief, one_line
from .signals import shield
from .worker import Attempt, Objective, Outcome, work, work_elsewhere

POLL = 0.05
"""Seconds between two looks at marks, and at futures that cannot be waited for."""
STILLBORN = 3
"""Executors that break before any call has begun, or calls that are lost so, in a row, until we give up."""

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Call:
    """An attempt that was submitted."""

    attempt: Attempt
    engine: Engine
    executor: Any
    future: Any
    began: float | None = None
    """When its mark was seen, by the monotonic clock."""
    alone: bool = True
    """False: when its executor broke, other calls ran on it, and nobody knows whose fault it was."""
    given_up: bool = False

    def is_done(self) -> bool:
        return bool(self.future.done())

    def has_begun(self) -> bool:
        """Looks for the mark that the worker writes; on shared file systems it may be seen late."""
        if self.began is None and os.path.exists(self.attempt.mark):
            self.began = time.monotonic()
        return self.began is not None


@dataclass(frozen=True)
class LostCall:
    """A call that ended without a report: its worker died, or the engine gave it up."""

    reason: str
    counts: bool
    """Whether it was this call's own; False: it was lost with others, and nobody knows whose fault it was."""


class InProcess:
    """The executor of one worker, this process: a call is over when `submit` returns."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


class OwnProcess:
    """The executor of one worker, a process of ours that can be killed."""

    def __init__(self, device: str | None) -> None:
        context = multiprocessing.get_context('spawn')
        self._pids, sender = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(1, context, begin_process, (device, sender))

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        return self._pool.submit(function, *arguments)

    def kill(self) -> None:
        """End the worker, its children, and what it is doing."""
        if self._pids.poll():
            pid = self._pids.recv()
            try:
                os.killpg(pid, signal.SIGKILL) if hasattr(os, 'killpg') else os.kill(pid, signal.SIGTERM)
            except OSError:
                pass  # it is dead already
        self._pids.close()  # a worker that is still starting finds nobody to report to, and ends
        self._pool.shutdown(wait=False, cancel_futures=True)

    def shutdown(self) -> None:
        """End the idle worker."""
        self._pool.shutdown()
        self._pids.close()


def begin_process(device: str | None, pids: Connection) -> None:
    """In a new process of ours: take the device, and end when the tuner's process does."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        end_process()

    if hasattr(os, 'setsid'):  # before anything can kill the group: until here it is that of whoever started the tuner
        os.setsid()  # the terminal's Ctrl-C is for the tuner; and what this process starts can be killed with it
    threading.Thread(target=watch, daemon=True).start()
    shield()
    if device is not None:
        os.environ['CUDA_VISIBLE_DEVICES'] = device
    try:
        pids.send(os.getpid())
    except OSError:  # nobody waits for it any more
        end_process()


def end_process() -> None:
    """Leave at once, with all that this process started; a group that it does not lead is others', too."""
    if hasattr(os, 'killpg') and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


@dataclass(eq=False)
class Engine:
    """An executor and how many calls it may be given at a time."""

    executor: Any = None
    make: Callable[[], Any] | None = None
    """Makes the executor, and makes it anew when it is broken; None: the user's, which we cannot make."""
    capacity: int = 1
    calls: list[Call] = field(default_factory=list)
    """Those that occupy a worker, those that were given up included."""
    broken: str | None = None
    """Why it can never be given a call again."""
    stillborn: int = 0

    def free(self) -> int:
        """How many calls it may be given now."""
        self.calls = [call for call in self.calls if not (call.given_up and call.is_done())]
        return 0 if self.broken else self.capacity - len(self.calls)

    def submit(self, objective_function: Objective, attempt: Attempt) -> Call | None:
        """Start a call; None: the executor takes none, `broken` says why.

        Raises:
            ArgumentError: the objective function cannot be pickled, or the executor is none.
        """
        for again in (True, False):
            if self.executor is None and self.make is not None:
                self.executor = self.make()
            function = work if isinstance(self.executor, InProcess) else work_elsewhere
            try:
                future = self.executor.submit(function, objective_function, attempt)
                break
            except Exception as error:
                if is_about_pickling(error):
                    raise unpicklable(objective_function, error) from error
                if self.make is None or not again:
                    self.broken = one_line(error)
                    return None
                self.renew()
        if not callable(getattr(future, 'done', None)) or not callable(getattr(future, 'result', None)):
            raise ArgumentError('executor', self.executor, 'one whose `submit` returns futures (`done`, `result`)')
        call = Call(attempt, self, self.executor, future)
        self.calls.append(call)
        return call

    def outcome(self, call: Call, objective_function: Objective) -> Outcome | LostCall:
        """What became of a call that is done.

        Raises:
            ArgumentError: the objective function cannot be pickled.
            ExecutorError: workers die before they begin.
        """
        together = [other for other in self.calls if other.executor is call.executor]
        self.calls.remove(call)
        try:
            report = call.future.result()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # asyncio's CancelledError, which some engines raise, is no Exception
            if is_about_pickling(error):
                raise unpicklable(objective_function, error) from error
            if not isinstance(error, BrokenExecutor):
                return self._lost(call, error)
            if call.executor is self.executor:
                self._broke(together, error)
            return LostCall(f'its worker died: {one_line(error)}', counts=call.alone and call.has_begun())
        self.stillborn = 0
        if not isinstance(report, Outcome):
            return LostCall(f'the executor returned {brief(report)}', counts=True)
        return report

    def give_up(self, call: Call) -> None:
        """Do not wait for a call any more. Our own worker is killed; any other is occupied until it ends."""
        call.given_up = True
        if isinstance(call.executor, OwnProcess):
            self.calls.remove(call)
            self.renew()
        else:
            try:
                call.future.cancel()
            except Exception as error:  # Parsl's raises NotImplementedError, submitit's jobs have none
                logger.debug('a call cannot be cancelled: %s', one_line(error))

    def renew(self) -> None:
        """Let go of the executor; the next call is given to a new one."""
        if isinstance(self.executor, OwnProcess):
            self.executor.kill()
        elif callable(getattr(self.executor, 'shutdown', None)):
            self.executor.shutdown(wait=False)
        self.executor = None

    def close(self) -> None:
        """The race is over: end what we made, and do not let what still runs elsewhere go on for nobody."""
        for call in self.calls:
            if not isinstance(call.executor, OwnProcess) and not call.given_up:
                self.give_up(call)
        if isinstance(self.executor, OwnProcess) and not self.calls:
            self.executor.shutdown()
            self.executor = None
        elif self.make is not None and self.executor is not None:
            self.renew()
        self.calls = []

    def _lost(self, call: Call, error: BaseException) -> LostCall:
        """Where no call begins any more, no worker is left (Dask's NoWorkerError), or none can import the objective."""
        begun = call.has_begun()
        self.stillborn = 0 if begun else self.stillborn + 1
        if self.stillborn >= STILLBORN + self.capacity - 1:  # those that were given out together count once
            self.broken = f'{self.stillborn} calls in a row were lost before they began: {one_line(error)}'
        return LostCall(f'the executor lost the call: {one_line(error)}', counts=begun)

    def _broke(self, together: Sequence[Call], error: BaseException) -> None:
        begun = sum(call.has_begun() for call in together)
        for call in together:
            call.alone = begun == 1
        self.stillborn = 0 if begun else self.stillborn + 1
        if self.make is None:
            self.broken = one_line(error)
            return
        if self.stillborn >= STILLBORN:
            raise ExecutorError(
                "workers die before they begin. A script needs `if __name__ == '__main__':` around what it runs, and "
                f'processes import the objective function from its file: {one_line(error)}'
            ) from error
        self.renew()


class Workers:
    """All engines of a race, and the calls that run on them."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = engines
        self.calls: dict[int, Call] = {}
        """By trial, those that are waited for."""

    def free(self) -> Engine | None:
        """An engine that may be given a call now."""
        return next((engine for engine in self.engines if engine.free() > 0), None)

    def broken(self) -> str | None:
        """Why no call can ever be made again, if so."""
        reasons = [engine.broken for engine in self.engines]
        return reasons[0] if all(reasons) else None

    def wait(self, seconds: float) -> list[Call]:
        """Calls that are done, in the order of their attempts; none if none is after so many seconds."""
        end = time.monotonic() + seconds
        while True:
            done = [call for call in self.calls.values() if call.is_done()]
            left = end - time.monotonic()
            if done or left <= 0:
                return sorted(done, key=lambda call: call.attempt.number)
            futures = [call.future for call in self.calls.values()]
            if all(isinstance(future, Future) for future in futures):
                wait_for(futures, left, FIRST_COMPLETED)
            else:  # Dask's own, submitit's jobs, Ray's references
                time.sleep(min(left, POLL))

    def give_up(self) -> None:
        """Do not wait for any call any more."""
        for call in self.calls.values():
            call.engine.give_up(call)
        self.calls = {}

    def close(self) -> None:
        """The race is over, or left: end what we made."""
        for engine in self.engines:
            engine.close()
        self.calls = {}


def engines_for(executor: Any, num_workers: int, devices: Sequence[str] | None, own_process: bool) -> list[Engine]:
    """The engines that the tuner's arguments ask for.

    Args:
        executor: None, an executor, or a callable that makes one.
        num_workers: calls at a time.
        devices: for processes of our own, what each of them sees.
        own_process: whether even a single worker is a process of its own.

    Raises:
        ArgumentError: the executor is neither.
    """
    if executor is None and num_workers == 1 and not own_process:
        return [Engine(InProcess())]
    if executor is None:
        seen: Sequence[str | None] = [None] * num_workers if devices is None else devices[:num_workers]
        return [Engine(make=partial(OwnProcess, device)) for device in seen]
    if not isinstance(executor, type) and callable(getattr(executor, 'submit', None)):
        return [Engine(executor, capacity=num_workers)]
    if callable(executor):
        return [Engine(make=executor, capacity=num_workers)]
    raise ArgumentError('executor', executor, 'an object with `submit`, as concurrent.futures has them, or its maker')


def needs_pickling(executor: Any, own_process: bool) -> bool:
    """Whether calls are known to go through Python's own pickle: others (Dask, loky, Ray) can carry more."""
    return own_process if executor is None else isinstance(executor, ProcessPoolExecutor)


def check_picklable(objective_function: Objective) -> None:
    """Raises ArgumentError, naming what is at fault, unless the objective function can be sent to a process."""
    try:
        pickle.dumps(objective_function)
    except Exception as error:
        raise unpicklable(objective_function, error) from error


def unpicklable(objective_function: Objective, error: BaseException) -> ArgumentError:
    """The error that names the part of the objective function that cannot be pickled."""
    where, part = culprit('objective_function', objective_function)
    return ArgumentError(
        'objective_function',
        objective_function,
        f'what pickle can send to another process; {where} is {brief(part, 80)}, which it cannot ({one_line(error)}). '
        'Define the function at the top of a module, make what it holds inside the call, or take an executor of '
        'threads, or one that pickles by value (loky, Dask)',
    )


def culprit(name: str, value: object) -> tuple[str, object]:
    """The innermost attribute, element or argument of `value` that cannot be pickled: its path and itself."""
    parts: dict[str, object] = {}
    if isinstance(value, partial):
        parts = {f'{name}.func': value.func} | {f'{name}.args[{i}]': v for i, v in enumerate(value.args)}
        parts |= {f'{name}.keywords[{k!r}]': v for k, v in value.keywords.items()}
    elif isinstance(value, MethodType):
        parts = {f'{name}.__self__': value.__self__}
    elif isinstance(value, dict):
        parts = {f'{name}[{k!r}]': v for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        parts = {f'{name}[{i}]': v for i, v in enumerate(value)}
    elif not isinstance(value, (type, FunctionType)):
        parts = {f'{name}.{k}': v for k, v in getattr(value, '__dict__', {}).items()}
    for path, part in parts.items() if len(name) < 200 else ():
        try:
            pickle.dumps(part)
        except Exception:
            return culprit(path, part)
    return name, value


def is_about_pickling(error: BaseException) -> bool:
    """Whether an engine says that what it was given cannot be sent."""
    return isinstance(error, pickle.PicklingError) or (
        isinstance(error, (TypeError, AttributeError))
        and ('pickle' in str(error) or 'local object' in str(error))  # the latter is Python 3.13's word for a lambda
    )


def check_devices(value: Any, num_workers: int) -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES is to be for each worker; raises ArgumentError.

    'cuda:1' is the second of those that this process may see.
    """
    if value is None:
        return None
    accepted = f"at least {num_workers} (num_workers) different ones, such as ['cuda:0', 'cuda:1']"
    if not isinstance(value, (list, tuple)) or len(value) < num_workers or len(set(value)) < len(value):
        raise ArgumentError('devices', value, accepted)
    here = os.environ.get('CUDA_VISIBLE_DEVICES')
    visible = None if here is None else [name.strip() for name in here.split(',')]
    found = []
    for device in value:
        match = re.fullmatch(r'cuda:(\d+)|(GPU-.+|MIG-.+)', str(device))
        if not match:
            raise ArgumentError('devices', value, accepted)
        index, name = match.groups()
        if name is None and visible is not None and int(index) >= len(visible):
            raise ArgumentError('devices', value, f'those that CUDA_VISIBLE_DEVICES={here!r} leaves')
        found.append(name or (index if visible is None else visible[int(index)]))
    return found
