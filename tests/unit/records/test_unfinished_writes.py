"""What a power cut can leave: a last line of which a page never reached the disk, and folders that POSIX may forget."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpo4dl import JournalError
from hpo4dl.execution.worker import run_attempt
from hpo4dl.records.checkpoints import Checkpoints
from hpo4dl.records.journal import SCHEMA, Journal
from hpo4dl.records.lock import process_start_time
from hpo4dl.records.run_folder import make_run_folder
from hpo4dl.trial import Attempt, Trial


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path)
    journal.begin({'event': 'run', 'schema': SCHEMA, 'run': 'x'})
    for n in range(3):
        journal.append({'event': 'start', 'attempt': n, 'trial': n, 'previous_epoch': 0, 'epoch': 1})
    return journal


@pytest.mark.parametrize('hole', [(0, 1), (0, 60), (20, 60), (40, None), (10, -1)])
def test_a_last_line_with_a_page_of_zeros_is_an_unfinished_write(journal: Journal, hole: tuple) -> None:
    lines = journal.path.read_bytes().splitlines(keepends=True)
    last = bytearray(lines[-1])
    zeros = range(*slice(*hole).indices(len(last)))
    for i in zeros:
        last[i] = 0
    journal.path.write_bytes(b''.join([*lines[:-1], last]))
    assert len(list(journal)) == len(lines) - 1
    journal.truncate_torn_tail()
    assert journal.path.read_bytes() == b''.join(lines[:-1])
    assert len(list(journal)) == len(lines) - 1


def test_zeros_in_another_line_are_damage(journal: Journal) -> None:
    lines = journal.path.read_bytes().splitlines(keepends=True)
    content = b''.join([*lines[:-2], b'\0' * 20 + lines[-2][20:], lines[-1]])
    journal.path.write_bytes(content)
    with pytest.raises(JournalError, match=f'line {len(lines) - 1}: damaged'):
        list(journal)
    journal.truncate_torn_tail()
    assert journal.path.read_bytes() == content


def test_every_folder_on_the_way_to_a_checkpoint_is_forced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = set()
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.add(os.readlink(f'/proc/self/fd/{descriptor}'))
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', noted)
    run, _ = make_run_folder(tmp_path / 'runs', str(tmp_path / 'storage'))
    assert {str(tmp_path / 'runs'), str(tmp_path / 'storage')} <= synced
    trial = run / 'checkpoints' / 'trial_3'
    trial.parent.mkdir()
    attempt = Attempt(7, Trial(3, {}, 0, 1), str(trial / 'attempt_7'), None, str(trial / 'began_7'))

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        (Path(checkpoint_path) / 'weights').write_text('new')
        return {'epoch': 1, 'metric': 0.5}

    outcome = run_attempt(objective, attempt)
    assert outcome.failed is None
    worked_in = Path(outcome.folder or '')
    assert worked_in.parent == trial
    Checkpoints(trial.parent, run / 'best_trial', 'alive', 'copy').accept(3, 7, outcome.folder or '')
    needed = [trial.parent, trial, worked_in, worked_in / 'weights']
    assert {str(path) for path in needed} <= synced


def test_a_process_that_nobody_reaped_is_dead() -> None:
    process = subprocess.Popen([sys.executable, '-c', ''])
    assert process_start_time(os.getpid()) is not None
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process_start_time(process.pid) is None
    process.wait()
    assert process_start_time(10**30) is None
