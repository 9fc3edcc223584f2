"""Processes of our own: what is killed and when, and which devices they see. None is started here."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from fakes import Clock

from hpo4dl import ArgumentError
from hpo4dl.execution import processes as module
from hpo4dl.execution.processes import WorkerProcess, begin_process, check_devices, end_process

DEAD = 2**22 + 1
"""No process has this number: it is above the kernel's largest."""


class Pool:
    """In the place of the pool of one process."""

    def __init__(self, workers: int, context: Any, initializer: Any, arguments: tuple[Any, ...]) -> None:
        self.workers, self.context, self.initializer, self.arguments = workers, context, initializer, arguments
        self.shutdowns: list[dict[str, bool]] = []

    def submit(self, *call: Any) -> tuple[Any, ...]:
        return call

    def shutdown(self, **how: bool) -> None:
        self.shutdowns.append(how)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Groups that were killed, and with what; nothing is."""
    groups: list[tuple[int, int]] = []
    monkeypatch.setattr(module, 'ProcessPoolExecutor', Pool)
    monkeypatch.setattr(module.os, 'killpg', lambda pid, number: groups.append((pid, number)), raising=False)
    return groups


def pool_of(worker: WorkerProcess) -> Pool:
    pool = worker._pool
    assert isinstance(pool, Pool)
    return pool


def test_a_worker_is_one_spawned_process_with_its_device(killed: list[tuple[int, int]]) -> None:
    worker = WorkerProcess('3')
    pool = pool_of(worker)
    assert (pool.workers, pool.context.get_start_method(), pool.initializer) == (1, 'spawn', begin_process)
    assert pool.arguments[0] == '3'
    assert worker.submit(len, 'abc') == (len, 'abc')
    worker.shutdown()
    assert pool.shutdowns == [{'wait': False}]
    worker.join(0.0)
    assert killed == []


def test_a_worker_is_killed_with_its_group(killed: list[tuple[int, int]]) -> None:
    worker = WorkerProcess(None)
    pool_of(worker).arguments[1].send(1234)
    worker.kill()
    assert killed == [(1234, signal.SIGKILL)]
    assert pool_of(worker).shutdowns == [{'wait': False, 'cancel_futures': True}]


def test_a_worker_that_has_not_told_its_number_finds_nobody_to_tell(killed: list[tuple[int, int]]) -> None:
    worker = WorkerProcess(None)
    worker.kill()
    assert killed == []
    with pytest.raises(BrokenPipeError):
        pool_of(worker).arguments[1].send(1234)
    assert pool_of(worker).shutdowns == [{'wait': False, 'cancel_futures': True}]


def test_a_worker_that_is_dead_already_is_let_go(
    killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(pid: int, number: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(module.os, 'killpg', gone)
    worker = WorkerProcess(None)
    pool_of(worker).arguments[1].send(DEAD)
    worker.kill()
    assert pool_of(worker).shutdowns == [{'wait': False, 'cancel_futures': True}]


@pytest.mark.parametrize('looks', [1, 3])
def test_a_worker_that_does_not_end_by_itself_is_killed(
    killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    clock = Clock(0.0)
    child = type('Child', (), {'pid': 1234})()
    monkeypatch.setattr(module.multiprocessing, 'active_children', lambda: [child] if clock.now < looks else [])
    monkeypatch.setattr(module.time, 'monotonic', clock)
    monkeypatch.setattr(module.time, 'sleep', lambda seconds: setattr(clock, 'now', clock.now + 1))
    worker = WorkerProcess(None)
    pool_of(worker).arguments[1].send(1234)
    worker.shutdown()
    worker.join(2.0)
    assert killed == ([(1234, signal.SIGKILL)] if looks == 3 else [])


class Pipe:
    """In the place of the way back to the tuner."""

    def __init__(self, steps: list[Any], is_closed: bool = False) -> None:
        self.steps, self.is_closed = steps, is_closed

    def send(self, pid: int) -> None:
        self.steps.append(('send', pid))
        if self.is_closed:
            raise BrokenPipeError


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a new worker process does, without a process."""
    done: list[Any] = []

    class Watch:
        def __init__(self, target: Any, daemon: bool) -> None:
            assert daemon
            self.start = target

    parent = type('Parent', (), {'sentinel': 77})()
    monkeypatch.setattr(module.multiprocessing, 'parent_process', lambda: parent)
    monkeypatch.setattr(module.os, 'setsid', lambda: done.append('a group of its own'), raising=False)
    monkeypatch.setattr(module.threading, 'Thread', Watch)
    monkeypatch.setattr(module, 'wait', lambda sentinels: done.append(('parent is dead', sentinels)))
    monkeypatch.setattr(module, 'end_process', lambda: done.append('end'))
    monkeypatch.setattr(module, 'ignore_stop_signals', lambda: done.append('ignore signals'))
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0,1,2')
    return done


@pytest.mark.parametrize(('device', 'seen'), [('2', '2'), (None, '0,1,2')])
def test_a_new_process_has_its_group_and_device_before_it_tells_its_number(
    steps: list[Any], device: str | None, seen: str
) -> None:
    begin_process(device, Pipe(steps))
    watched = [('parent is dead', [77]), 'end']  # the thread that waits for it, here at once
    assert steps == ['a group of its own', *watched, 'ignore signals', ('send', os.getpid())]
    assert os.environ['CUDA_VISIBLE_DEVICES'] == seen


def test_a_new_process_that_nobody_waits_for_ends(steps: list[Any]) -> None:
    begin_process(None, Pipe(steps, is_closed=True))
    assert steps[-2:] == [('send', os.getpid()), 'end']


@pytest.mark.parametrize('leads', [True, False])
def test_to_end_is_to_kill_only_a_group_of_ones_own(
    killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, leads: bool
) -> None:
    class Left(Exception):
        pass

    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(module.os, 'getpgrp', lambda: os.getpid() if leads else os.getpid() + 1)
    monkeypatch.setattr(module.os, '_exit', leave)
    with pytest.raises(Left):
        end_process()
    assert killed == ([(0, signal.SIGKILL)] if leads else [])


def test_devices_that_are_not_given() -> None:
    assert check_devices(None, 4) is None


@pytest.mark.parametrize(
    ('visible', 'asked', 'seen'),
    [
        (None, ['cuda:0', 'cuda:1'], ['0', '1']),
        (None, ('cuda:3', 'cuda:1', 'cuda:0'), ['3', '1', '0']),
        ('4,7', ['cuda:1', 'cuda:0'], ['7', '4']),
        (' GPU-a , GPU-b ', ['cuda:0', 'cuda:1'], ['GPU-a', 'GPU-b']),
        (None, ['GPU-1b2', 'MIG-3c4'], ['GPU-1b2', 'MIG-3c4']),
        ('0', ['GPU-1b2', 'cuda:0'], ['GPU-1b2', '0']),
    ],
)
def test_devices_are_those_of_what_this_process_sees(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, asked: list[str], seen: list[str]
) -> None:
    if visible is None:
        monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    else:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    assert check_devices(asked, 2) == seen


@pytest.mark.parametrize(
    ('n', 'workers', 'per_trial', 'per_device', 'seen'),
    [
        (4, 2, 2, 1, ['0,1', '2,3']),
        (5, 2, 2, 1, ['0,1', '2,3']),
        (2, 4, 1, 2, ['0', '1', '0', '1']),
        (2, 3, 1, 2, ['0', '1', '0']),
        (4, 4, 2, 2, ['0,1', '2,3', '0,1', '2,3']),
        (1, 3, 1, 3, ['0', '0', '0']),
    ],
)
def test_devices_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, n: int, workers: int, per_trial: int, per_device: int, seen: list[str]
) -> None:
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    devices = [f'cuda:{i}' for i in range(n)]
    assert check_devices(devices, workers, per_trial, per_device)[:workers] == seen
    with pytest.raises(ArgumentError, match=f'at least {-(-workers // per_device) * per_trial} different'):
        check_devices(devices[: -(-workers // per_device) * per_trial - 1], workers, per_trial, per_device)
    with pytest.raises(ArgumentError, match='devices: got None'):
        check_devices(None, workers, per_trial, per_device)


@pytest.mark.parametrize(
    'devices',
    [
        [],
        ['cuda:0'],
        ['cuda:0', 'cuda:0'],
        ['cuda:0', 'cpu'],
        ['cuda:0', 'cuda:'],
        ['cuda:0', 'cuda:-1'],
        ['cuda:0', 'GPU-'],
        'cuda:0',
        {'cuda:0', 'cuda:1'},
        [0, 1],
        2,
    ],
)
def test_devices_that_are_none(monkeypatch: pytest.MonkeyPatch, devices: object) -> None:
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    with pytest.raises(ArgumentError, match='devices'):
        check_devices(devices, 2)


@pytest.mark.parametrize('visible', ['4', '4,5'])
def test_devices_that_are_hidden_from_this_process(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    with pytest.raises(ArgumentError, match=f"CUDA_VISIBLE_DEVICES='{visible}'"):
        check_devices(['cuda:0', 'cuda:2'], 2)
