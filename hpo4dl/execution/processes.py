"""Worker processes of our own, each of which can be killed, with what it started, and no other with it.

They are spawned: forked ones would inherit threads and CUDA contexts, and hang.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from ..errors import ArgumentError
from .signals import ignore_stop_signals

GRACE = 5.0
"""Seconds that an idle worker has to end by itself, before it is killed with what the objective function left in it."""


class WorkerProcess:
    """The executor of one worker, a process of ours that can be killed."""

    def __init__(self, device: str | None) -> None:
        context = multiprocessing.get_context('spawn')
        self._pids, sender = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(1, context, begin_process, (device, sender))
        self._pid: int | None = None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        return self._pool.submit(function, *arguments)

    def kill(self) -> None:
        """End the worker, its children, and what it is doing."""
        pid = self._told_pid()
        if pid is not None:
            with suppress(OSError):  # it is dead already
                os.killpg(pid, signal.SIGKILL) if hasattr(os, 'killpg') else os.kill(pid, signal.SIGTERM)
        self._pids.close()  # a worker that is still starting finds nobody to report to, and ends
        self._pool.shutdown(wait=False, cancel_futures=True)

    def shutdown(self) -> None:
        """Tell the idle worker to end; `join` waits for it."""
        self._told_pid()
        self._pids.close()
        self._pool.shutdown(wait=False)

    def join(self, end: float) -> None:
        """Wait for the worker that was told to end, until `end` by the monotonic clock; then kill it.

        A thread, or a process, that the objective function left there may keep it from ending, for ever.
        """
        while any(process.pid == self._pid for process in multiprocessing.active_children()):
            if time.monotonic() >= end:
                self.kill()
                return
            time.sleep(0.01)

    def _told_pid(self) -> int | None:
        """Return the number that the worker told when it had started."""
        if self._pid is None and not self._pids.closed and self._pids.poll():
            self._pid = self._pids.recv()
        return self._pid


def begin_process(device: str | None, pids: Connection) -> None:
    """Take the device, in a new process of ours, and end when the tuner's process does."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        end_process()

    if hasattr(os, 'setsid'):  # before anything can kill the group: until here it is that of whoever started the tuner
        os.setsid()  # the terminal's Ctrl-C is for the tuner; and what this process starts can be killed with it
    threading.Thread(target=watch, daemon=True).start()
    ignore_stop_signals()
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


def check_devices(value: Any, num_workers: int, per_trial: int = 1, per_device: int = 1) -> list[str] | None:
    """Return CUDA_VISIBLE_DEVICES of each worker ('cuda:1': the second that we may see); raises ArgumentError.

    A worker sees `per_trial` of the devices, and `per_device` workers see the same ones.
    """
    if value is None and per_trial == per_device == 1:
        return None
    needed = -(-num_workers // per_device) * per_trial
    accepted = f"at least {needed} different ones for {num_workers} workers, such as ['cuda:0', 'cuda:1']"
    if not isinstance(value, (list, tuple)) or len(value) < needed or len(set(value)) < len(value):
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
    groups = [','.join(found[i : i + per_trial]) for i in range(0, len(found) - per_trial + 1, per_trial)]
    return groups * per_device
