"""Stopping signals: the first is remembered, the second leaves, and what others handle is theirs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from hpo4dl.execution import signals as module
from hpo4dl.execution.signals import Signals, ignore_stop_signals, only_in_this_process, stop_signals

pytestmark = pytest.mark.skipif(not hasattr(signal, 'SIGUSR1'), reason='a system without these signals')
ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def _as_by_default() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ALL}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in ALL]


def test_these_stop() -> None:
    assert sorted(stop_signals()) == sorted(ALL)


@pytest.mark.parametrize('number', ALL)
def test_the_first_is_remembered_and_the_second_leaves(number: signal.Signals) -> None:
    before, signals = handlers(), Signals()
    with signals.watched():
        assert signals.received is None
        signal.raise_signal(number)
        assert signals.received == number.name
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert signals.received == number.name
    assert handlers() == before
    assert signals.received == number.name  # until it is watched again
    with signals.watched():
        assert signals.received is None


def test_handlers_come_back_after_an_exception() -> None:
    before = handlers()
    with pytest.raises(ZeroDivisionError), Signals().watched():
        raise ZeroDivisionError
    assert handlers() == before


@pytest.mark.parametrize('theirs', [signal.SIG_IGN, lambda number, frame: None])
def test_what_somebody_else_handles_is_left_to_them(theirs) -> None:
    signal.signal(signal.SIGTERM, theirs)
    signals = Signals()
    with signals.watched():
        assert signal.getsignal(signal.SIGTERM) is theirs
        signal.raise_signal(signal.SIGTERM)
        assert signals.received is None
        signal.raise_signal(signal.SIGUSR1)
        assert signals.received == 'SIGUSR1'
    assert signal.getsignal(signal.SIGTERM) is theirs


def test_in_another_thread_nothing_is_watched() -> None:
    before, during, signals = handlers(), [], Signals()

    def watch() -> None:
        with signals.watched():
            during.extend(handlers())

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert during == before


def test_a_worker_ignores_them() -> None:
    ignore_stop_signals()
    for number in ALL:
        signal.raise_signal(number)


def test_a_forked_child_dies_of_the_signal_as_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    acted: list[int] = []
    sent: list[tuple[int, int, object]] = []
    handler = only_in_this_process(acted.append)
    handler(signal.SIGTERM, None)
    assert acted == [signal.SIGTERM]
    monkeypatch.setattr(module.os, 'getpid', lambda: 7)  # as in a child
    monkeypatch.setattr(module.os, 'kill', lambda pid, number: sent.append((pid, number, signal.getsignal(number))))
    signal.signal(signal.SIGTERM, handler)
    handler(signal.SIGTERM, None)
    assert acted == [signal.SIGTERM]
    assert sent == [(7, signal.SIGTERM, signal.SIG_DFL)]
    assert os.getpid() == 7
