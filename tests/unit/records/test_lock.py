"""The lock of a run's folder: who gets it, who is told whom to look for, and what is left."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from hpo4dl import RunLockedError, StorageError
from hpo4dl.records import lock as module
from hpo4dl.records.lock import Lock, digest, process_start_time

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
    held(tmp_path, pid=1)
    with pytest.raises(RunLockedError, match='end it first') as raised:
        Lock(tmp_path).__enter__()
    assert 'take_over' not in str(raised.value)


def test_who_is_refused_because_of_its_own_process_is_told_so(tmp_path: Path) -> None:
    held(tmp_path)
    with pytest.raises(RunLockedError, match=r'this very one.*if there is none.*take_over=True'):
        Lock(tmp_path).__enter__()
    with Lock(tmp_path, take_over=True) as lock:
        lock.check()


def test_a_lock_that_cannot_be_read_when_it_is_released_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> bytes:
        raise OSError(errno.EMFILE, 'Too many open files')

    for taken_over in (False, True):
        lock = Lock(tmp_path).__enter__()
        if taken_over:
            (tmp_path / 'new').write_text('another tuner')
            os.replace(tmp_path / 'new', tmp_path / 'lock')
        with monkeypatch.context() as patch:
            patch.setattr(module, 'read_regular', refuse)
            lock.__exit__()
        assert [path.read_text() for path in tmp_path.iterdir()] == ['another tuner'] * taken_over


def test_what_kills_left_long_ago_is_removed_by_the_next_owner(tmp_path: Path) -> None:
    names = [f'.lock.{"a" * 16}.new', f'.journal.jsonl.{"b" * 16}.new', f'.lock.{"c" * 16}']
    others = ['.lock.x.new', f'{"a" * 16}.new', f'.x.{"a" * 16}', f'.recent.{"d" * 16}.new']
    for name in names + others:
        (tmp_path / name).touch()
        if 'recent' not in name:
            os.utime(tmp_path / name, (1, 1))
    (tmp_path / f'.best_trial.{"e" * 16}.new').mkdir()
    (tmp_path / f'.link.{"e" * 16}.new').symlink_to('/etc/hostname')
    kept = {*others, f'.best_trial.{"e" * 16}.new', f'.link.{"e" * 16}.new'}
    with Lock(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {*kept, 'lock'}


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


@pytest.mark.parametrize('key', ['boot', 'namespace'])
def test_another_boot_or_container_is_another_host_though_its_name_is_the_same(tmp_path: Path, key: str) -> None:
    owner = {**module.this_process(), 'pid': DEAD, 'birth': '1'}
    text = json.dumps({**owner, key: 'another', 'token': 'theirs'})
    (tmp_path / 'lock').write_text(text)
    with pytest.raises(RunLockedError, match=r'container.*take_over=True'):
        Lock(tmp_path).__enter__()
    assert (tmp_path / 'lock').read_text() == text
    with Lock(tmp_path, take_over=True) as lock:
        lock.check()
        assert lock.taken_over
    (tmp_path / 'lock').write_text(json.dumps({**owner, 'token': 'theirs'}))
    with Lock(tmp_path) as lock:
        lock.check()


def test_a_lock_tells_boot_and_namespace_where_the_kernel_does(tmp_path: Path) -> None:
    with Lock(tmp_path) as lock:
        owner = json.loads(lock.path.read_text())
    assert owner['boot'] == Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    assert owner['namespace'] == os.readlink('/proc/self/ns/pid')
    assert not lock.taken_over


def test_a_refusal_is_safe_on_a_terminal(tmp_path: Path) -> None:
    held(tmp_path, host='\x1b[31mred\x07\n' + 'x' * 1000)
    with pytest.raises(RunLockedError) as raised:
        Lock(tmp_path).__enter__()
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000


def test_of_many_that_take_over_a_dead_ones_lock_exactly_one_has_it(tmp_path: Path) -> None:
    """Threads stand for processes: each lock has its own token, and nothing is shared but the folder."""
    for n in range(30):
        folder = tmp_path / str(n)
        folder.mkdir()
        held(folder, pid=DEAD, birth='1')
        together, have, refused = threading.Barrier(8), [], []

        def contend(folder: Path = folder, together=together, have=have, refused=refused) -> None:
            lock = Lock(folder)
            together.wait()
            try:
                have.append(lock.__enter__())
            except RunLockedError as error:
                refused.append(error)

        threads = [threading.Thread(target=contend) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(have), len(refused)) == (1, 7)
        have[0].check()
        assert [path.name for path in folder.iterdir()] == ['lock']
        have[0].__exit__()
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize('depth', [1, 2])
def test_who_died_while_it_took_a_lock_over_is_in_nobodys_way(tmp_path: Path, depth: int) -> None:
    text = held(tmp_path, pid=DEAD, birth='1')
    beside = tmp_path / 'lock'
    for n in range(depth):
        beside = tmp_path / f'.lock.{digest(beside, text)}'
        text = json.dumps({**module.this_process(), 'pid': DEAD, 'birth': str(n), 'token': 'dead'})
        beside.write_text(text)
    with Lock(tmp_path) as lock:
        lock.check()
    assert list(tmp_path.iterdir()) == []


def test_who_takes_a_lock_over_at_this_moment_keeps_the_others_out(tmp_path: Path) -> None:
    text = held(tmp_path, pid=DEAD, birth='1')
    beside = tmp_path / f'.lock.{digest(tmp_path / "lock", text)}'
    beside.write_text(json.dumps({**module.this_process(), 'token': 'theirs'}))
    with pytest.raises(RunLockedError, match=f'process {os.getpid()}'):
        Lock(tmp_path).__enter__()
    assert (tmp_path / 'lock').read_text() == text


def test_where_there_are_no_links_a_lock_is_made_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(errno.EPERM, 'Operation not permitted')

    monkeypatch.setattr(module.os, 'link', refuse)
    with Lock(tmp_path) as lock:
        lock.check()
        with pytest.raises(RunLockedError):
            Lock(tmp_path).__enter__()
    held(tmp_path, pid=DEAD, birth='1')
    with Lock(tmp_path) as lock:
        lock.check()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('kind', ['fifo', 'folder', 'device'])
def test_what_is_no_file_in_the_place_of_the_lock_does_not_hang(tmp_path: Path, kind: str) -> None:
    path = tmp_path / 'lock'
    if kind == 'fifo':
        os.mkfifo(path)
    elif kind == 'folder':
        path.mkdir()
    else:
        path.symlink_to('/dev/zero')
    if kind == 'folder':
        with pytest.raises(StorageError, match='cannot be written'):
            Lock(tmp_path).__enter__()
        return
    with Lock(tmp_path) as lock:
        lock.check()
        assert path.is_file()
        assert not path.is_symlink()


def test_a_lock_that_is_being_taken_over_while_it_is_removed_is_left(tmp_path: Path) -> None:
    with Lock(tmp_path) as lock:
        (tmp_path / f'.lock.{digest(lock.path, lock._own)}').write_text(lock._own)  # this process lives
    assert lock.path.read_text() == lock._own
    with Lock(tmp_path, take_over=True):
        pass
    assert list(tmp_path.iterdir()) == []
