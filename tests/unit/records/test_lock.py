"""The lock of a run's folder: who gets it, who is told whom to look for, and what is left."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from hpo4dl import RunLockedError, StorageError
from hpo4dl.records import lock as module
from hpo4dl.records.lock import Lock, process_start_time

DEAD = 2**22 + 1
"""No process has this number: it is above the kernel's largest."""


@pytest.fixture(autouse=True)
def _no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'SETTLING', 0.0)


def held(folder: Path, host: str | None = None, pid: int | None = None, birth: str | None = None) -> str:
    """The lock of another tuner."""
    pid = os.getpid() if pid is None else pid
    owner = {'host': host or socket.gethostname(), 'pid': pid, 'birth': birth or process_start_time(pid)}
    text = json.dumps({**owner, 'token': 'theirs'})
    (folder / 'lock').write_text(text)
    return text


def test_it_is_there_while_it_is_held_and_names_its_owner(tmp_path: Path) -> None:
    with Lock(tmp_path) as lock:
        owner = json.loads((tmp_path / 'lock').read_text())
        assert (owner['host'], owner['pid']) == (socket.gethostname(), os.getpid())
        lock.check()
    assert not (tmp_path / 'lock').exists()
    with pytest.raises(ZeroDivisionError), Lock(tmp_path):
        raise ZeroDivisionError
    assert not (tmp_path / 'lock').exists()


def test_a_second_tuner_is_kept_out_and_changes_nothing(tmp_path: Path) -> None:
    with Lock(tmp_path) as first:
        before = first.path.read_text()
        with pytest.raises(RunLockedError, match=f'process {os.getpid()} on host {socket.gethostname()}'):
            Lock(tmp_path).__enter__()
        assert first.path.read_text() == before
        first.check()


def test_the_lock_of_a_dead_process_of_this_host_is_taken_over(tmp_path: Path) -> None:
    held(tmp_path, pid=DEAD, birth='1')
    with Lock(tmp_path) as lock:
        lock.check()
    assert not lock.path.exists()


def test_a_number_that_is_used_again_by_another_process_is_no_owner(tmp_path: Path) -> None:
    held(tmp_path, birth='1')
    with Lock(tmp_path) as lock:
        lock.check()


@pytest.mark.parametrize('take_over', [False, True])
def test_the_lock_of_another_host_is_taken_over_on_request(tmp_path: Path, take_over: bool) -> None:
    text = held(tmp_path, host='elsewhere', pid=DEAD)
    if take_over:
        with Lock(tmp_path, take_over) as lock:
            lock.check()
        return
    with pytest.raises(RunLockedError, match=r'on host elsewhere.*take_over=True'):
        Lock(tmp_path).__enter__()
    assert (tmp_path / 'lock').read_text() == text


def test_a_living_process_of_this_host_needs_no_advice_to_take_over(tmp_path: Path) -> None:
    held(tmp_path)
    with pytest.raises(RunLockedError) as raised:
        Lock(tmp_path).__enter__()
    assert 'take_over' not in str(raised.value)


@pytest.mark.parametrize('text', ['', '{"host": "a', '[]', '{}', '{"host": "a", "pid": "x", "birth": 1}', '\0'])
def test_a_lock_that_a_kill_cut_short_is_taken_over(tmp_path: Path, text: str) -> None:
    (tmp_path / 'lock').write_text(text)
    with Lock(tmp_path) as lock:
        lock.check()


def test_who_lost_the_lock_learns_it_and_leaves_the_other_ones(tmp_path: Path) -> None:
    with Lock(tmp_path) as lock:
        theirs = held(tmp_path, host='elsewhere')
        with pytest.raises(RunLockedError, match='elsewhere'):
            lock.check()
    assert (tmp_path / 'lock').read_text() == theirs


def test_a_lock_that_is_gone_is_trouble_of_the_disk(tmp_path: Path) -> None:
    with Lock(tmp_path) as lock:
        lock.path.unlink()
        with pytest.raises(StorageError, match='gone'):
            lock.check()
    with pytest.raises(StorageError, match='cannot be written'):
        Lock(tmp_path / 'nowhere').__enter__()


def test_of_two_that_take_it_over_in_the_same_instant_the_last_one_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(tmp_path, pid=DEAD, birth='1')
    second = Lock(tmp_path)
    monkeypatch.setattr(module.time, 'sleep', lambda seconds: second.path.write_text(second._own))
    with pytest.raises(RunLockedError, match='taken it over'):
        Lock(tmp_path).__enter__()
    second.check()


def test_two_locks_of_one_process_are_not_the_same(tmp_path: Path) -> None:
    with Lock(tmp_path), pytest.raises(RunLockedError):
        Lock(tmp_path).check()


def test_the_birth_of_a_process() -> None:
    assert process_start_time(os.getpid()) == process_start_time(os.getpid()) is not None
    assert process_start_time(DEAD) is None


def test_where_the_kernel_tells_no_birth_all_that_live_have_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> str:
        raise OSError

    monkeypatch.setattr(module.Path, 'read_text', refuse)
    assert process_start_time(os.getpid()) == 'unknown'
    assert process_start_time(DEAD) is None

    def forbidden(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(module.os, 'kill', forbidden)
    assert process_start_time(1) == 'unknown'  # somebody else's lives, too


def test_no_process_is_sent_a_signal_where_zero_is_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, `os.kill(pid, 0)` interrupts the console's processes, this one among them."""
    sent = []
    monkeypatch.setattr(sys, 'platform', 'win32')
    monkeypatch.setattr(os, 'kill', lambda *arguments: sent.append(arguments))
    assert process_start_time(2**22 + 1) == 'unknown'
    assert sent == []
