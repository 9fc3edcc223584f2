"""Signals that end a race: the first lets the calls that run end, the second leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..log import Log

STOPPING = ('SIGINT', 'SIGTERM', 'SIGUSR1')

logger = Log(__name__)


class Signals:
    """Remembers the first stopping signal; a second one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.received: str | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Only where nobody else handles the signal, and only in the main thread, where Python allows it."""
        self.received = None
        previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    previous[number] = signal.signal(number, only_in_this_process(self._receive))
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _receive(self, number: int) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        logger.warning('%s: the calls that run are the last ones; once more to leave at once', self.received)


def ignore_stop_signals() -> None:
    """Ignore them in a worker process of ours: the tuner says when to stop, whoever else the signal was sent to."""
    for number in stop_signals():
        signal.signal(number, only_in_this_process(lambda _: None))


def stop_signals() -> list[int]:
    """Return the stopping signals that this system has."""
    return [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]


def only_in_this_process(act: Callable[[int], object]) -> Callable[[int, FrameType | None], None]:
    """Return a handler for this process; forked children, such as data loaders', die of the signal as by default."""
    owner = os.getpid()

    def handler(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            act(number)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    return handler
