"""A run's journal: damage, other schemas, foreign content, two tuners, and the clock."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float
from objectives import Quadratic
from races import tune
from runs import results_of

from hpo4dl import ArgumentError, Event, JournalError, RunLockedError, StorageError, Tuner, replay
from hpo4dl.records.journal import Journal, encode_line


def resume(run: Path, objective=None, **arguments) -> Tuner:
    tuner = Tuner.resume(run, objective or Quadratic(), progress=False, **arguments)
    tuner.run()
    return tuner


def lines_of(run: Path) -> list[bytes]:
    return (run / 'journal.jsonl').read_bytes().splitlines(keepends=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    tuner = tune(tmp_path, Quadratic(), optimizer='asha', max_budget=20, keep_checkpoints='all')
    tuner.run()
    return tuner.run_folder


def test_damage_is_named_and_changes_nothing_and_salvage_goes_on_from_the_whole_lines(run: Path) -> None:
    lines = lines_of(run)
    before = results_of(run)
    middle = next(n for n, line in enumerate(lines) if n > 8 and b'"result"' in line)
    gone = {(json.loads(lines[middle])['trial'], e['epoch']) for e in json.loads(lines[middle])['epochs']}
    damaged = b''.join([*lines[:middle], lines[middle].replace(b'metric', b'metrik'), *lines[middle + 1 :]])
    (run / 'journal.jsonl').write_bytes(damaged)
    with pytest.raises(JournalError, match=rf'journal.jsonl, line {middle + 1}: .*salvage=True'):
        resume(run)
    with pytest.raises(JournalError, match=rf'line {middle + 1}'):
        replay(run)
    assert (run / 'journal.jsonl').read_bytes() == damaged
    tuner = resume(run, max_budget=25, salvage=True)
    assert (run / 'journal.damaged-1.jsonl').read_bytes() == damaged
    assert {(t, e) for t, e, _ in results_of(run)} >= {(t, e) for t, e, _ in before} - gone
    assert len(set(results_of(run))) == len(results_of(run))
    assert tuner.epochs_spent == 25
    assert resume(run, max_budget=27).epochs_spent == 27
    with pytest.raises(JournalError, match='lines were lost'):
        replay(run)


@pytest.mark.parametrize('optimizer', ['asha', 'hyperband', 'random', 'dyhpo'])
def test_salvage_after_the_loss_of_any_line(tmp_path: Path, optimizer: str) -> None:
    budget = 9 if optimizer == 'dyhpo' else 14
    tuner = tune(tmp_path, Quadratic(), optimizer=optimizer, max_budget=budget, keep_checkpoints='all')
    tuner.run()
    lines = lines_of(tuner.run_folder)
    for n in range(0, len(lines), 1 if optimizer == 'asha' else 7):
        copy = tmp_path / f'without_{n}'
        shutil.copytree(tuner.run_folder, copy)
        (copy / 'journal.jsonl').write_bytes(b''.join([*lines[:n], b'rubbish\n', *lines[n + 1 :]]))
        again = resume(copy, max_budget=budget + 2, salvage=True)
        epochs = [(trial, epoch) for trial, epoch, _ in results_of(copy)]
        assert len(epochs) == len(set(epochs))
        assert again.epochs_spent in (budget + 2, budget + 1), 'a retraining may not fit into what is left'


def test_a_foreign_line_is_named(run: Path) -> None:
    lines = lines_of(run)
    (run / 'journal.jsonl').write_bytes(b''.join([*lines[:3], b'TODO: look at this\n', *lines[3:]]))
    with pytest.raises(JournalError, match='line 4'):
        resume(run)
    assert resume(run, salvage=True).epochs_spent == 20
    first, salvaged, *rest = lines_of(run)
    assert b'"salvage"' in salvaged
    assert [first, *rest][: len(lines)] == lines


def test_empty_and_missing_and_no_run_at_all(run: Path, tmp_path: Path) -> None:
    (run / 'journal.jsonl').write_bytes(b'')
    with pytest.raises(JournalError, match='empty'):
        resume(run)
    (run / 'journal.jsonl').unlink()
    with pytest.raises(JournalError, match=r'journal\.jsonl: cannot be read'):
        resume(run)
    with pytest.raises(JournalError, match='not the folder of a run'):
        Tuner.resume(tmp_path, Quadratic())


def test_a_newer_schema_is_refused_with_both_numbers(run: Path) -> None:
    first = encode_line({'event': 'run', 'schema': 7, 'run': 'x'})
    (run / 'journal.jsonl').write_bytes(b''.join([first, *lines_of(run)[1:]]))
    for salvage in (False, True):
        with pytest.raises(JournalError, match='schema 7, this hpo4dl reads schema 1'):
            resume(run, salvage=salvage)
    settings = json.loads((run / 'settings.json').read_text())
    settings['settings']['telepathy'] = True
    (run / 'settings.json').write_text(json.dumps(settings))
    with pytest.raises(JournalError, match=r'newer hpo4dl: .*telepathy'):
        resume(run)


def test_a_tail_of_zeros_or_without_its_newline_is_mended(run: Path) -> None:
    lines = lines_of(run)
    for tail in (bytes(4096), b''):
        (run / 'journal.jsonl').write_bytes(b''.join(lines)[: -1 if not tail else None] + tail)
        assert resume(run).epochs_spent == 20
        assert lines_of(run)[: len(lines)] == lines


def test_a_reader_changes_nothing(run: Path) -> None:
    with (run / 'journal.jsonl').open('ab') as file:
        file.write(b'{"event": "sta')
    before = (run / 'journal.jsonl').read_bytes()
    assert len(list(Journal(run))) == before.count(b'\n')
    replay(run)
    assert (run / 'journal.jsonl').read_bytes() == before


@pytest.mark.parametrize('trial', ['../../home', -1, 1.5, None, True])
def test_what_others_wrote_builds_no_paths(run: Path, trial) -> None:
    bad = encode_line({'event': 'evict', 'trial': trial, 'reason': ''})
    (run / 'journal.jsonl').write_bytes(b''.join([*lines_of(run), bad]))
    with pytest.raises(JournalError, match='line'):
        resume(run, max_budget=30)


def test_events_that_do_not_fit_are_an_error(run: Path) -> None:
    alone = encode_line({'event': 'start', 'attempt': 99, 'trial': 77, 'previous_epoch': 3, 'epoch': 4})
    (run / 'journal.jsonl').write_bytes(b''.join([*lines_of(run), alone]))
    with pytest.raises(JournalError, match='does not fit'):
        resume(run, max_budget=30)


class TestLock:
    def test_that_of_a_dead_process_is_taken_over(self, run: Path) -> None:
        dead = subprocess.Popen([sys.executable, '-c', ''])
        dead.wait()
        (run / 'lock').write_text(json.dumps({'host': socket.gethostname(), 'pid': dead.pid, 'birth': '1'}))
        resume(run)
        assert not (run / 'lock').exists()

    def test_that_of_a_living_process_is_respected_and_names_it(self, run: Path) -> None:
        with subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE) as alive:
            born = Path(f'/proc/{alive.pid}/stat').read_text().rpartition(')')[2].split()[19]
            (run / 'lock').write_text(json.dumps({'host': socket.gethostname(), 'pid': alive.pid, 'birth': born}))
            with pytest.raises(RunLockedError, match=rf'process {alive.pid} on host {socket.gethostname()}'):
                resume(run)
            alive.communicate(b'\n')

    def test_that_of_another_host_only_with_an_explicit_word(self, run: Path) -> None:
        (run / 'lock').write_text(json.dumps({'host': 'elsewhere', 'pid': 1, 'birth': '1'}))
        with pytest.raises(RunLockedError, match=r'process 1 on host elsewhere.*take_over=True'):
            resume(run)
        resume(run, take_over=True)

    def test_a_torn_lock_is_taken_over(self, run: Path) -> None:
        (run / 'lock').write_text('{"host"')
        resume(run)

    def test_who_lost_it_writes_nothing_any_more(self, tmp_path: Path) -> None:
        """Another host took the run over, wrongly: the first tuner stops before it writes a line."""
        taken: list[bytes] = []

        def objective(configuration, epoch, previous_epoch, checkpoint_path):
            if len(taken) == 0 and previous_epoch > 0:
                (tuner.run_folder / 'lock').write_text('{"host": "elsewhere", "pid": 1, "birth": "1"}')
                taken.append((tuner.run_folder / 'journal.jsonl').read_bytes())
            return {'epoch': epoch, 'metric': configuration['x']}

        tuner = tune(tmp_path, objective, optimizer='asha', max_budget=40)
        with pytest.raises(RunLockedError, match='elsewhere'):
            tuner.run()
        assert (tuner.run_folder / 'journal.jsonl').read_bytes() == taken[0]
        assert (tuner.run_folder / 'lock').exists(), "it is the other one's"


def test_a_run_whose_folder_goes_away_ends_with_one_clear_error(tmp_path: Path) -> None:
    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        shutil.rmtree(tuner.run_folder)
        return {'epoch': epoch, 'metric': configuration['x']}

    tuner = tune(tmp_path, objective)
    with pytest.raises(StorageError):
        tuner.run()


def test_the_clock_set_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [2e9]

    def backwards() -> float:
        now[0] -= 86_400
        return now[0]

    monkeypatch.setattr(time, 'time', backwards)
    tuner = tune(tmp_path, Quadratic(), optimizer='asha', time_limit=60)
    tuner.run()
    assert tuner.stopped.startswith('max_budget')
    assert resume(tuner.run_folder, max_budget=45).epochs_spent == 45
    assert replay(tuner.run_folder) > 20


def test_replay_finds_a_decision_that_is_not_the_optimizers(run: Path) -> None:
    lines = [json.loads(line) for line in lines_of(run)]
    configuration = next(event for event in lines[5:] if 'configuration' in event)['configuration']
    configuration['x'] += 0.001
    for event in lines:
        event.pop('crc')
    (run / 'journal.jsonl').write_bytes(b''.join(map(encode_line, lines)))
    with pytest.raises(JournalError, match=r'line \d+: the run took Trial'):
        replay(run)


def test_replay_of_an_optimizer_object_needs_one(tmp_path: Path) -> None:
    from hpo4dl import ASHA

    def asha() -> ASHA:
        return ASHA(ConfigurationSpace({'x': (-5.0, 10.0)}), 9, minimize=True, seed=4, eta=2)

    tuner = tune(tmp_path, Quadratic(), optimizer=asha())
    tuner.run()
    with pytest.raises(ArgumentError, match='optimizer'):
        replay(tuner.run_folder)
    assert replay(tuner.run_folder, asha()) > 5


def test_hostile_names_and_categories_come_back(tmp_path: Path) -> None:
    hostile = ['"', "'", 'a\nb', '../../up', '<b>&amp;</b>', 'ü\u2028\N{SNOWMAN}', 'x' * 10_000, '\\', '{0}%s', '\0']
    space = ConfigurationSpace()
    name = 'a "name"\nwith/../<i>everything</i> \N{SNOWMAN}'
    parts = [Categorical(name, hostile), Float('y' * 5000, (0.0, 1.0))]
    space.add(parts)
    seen = []

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        seen.append(configuration)
        return {'epoch': epoch, 'metric': configuration['y' * 5000], name: hostile[3], 'configuration_id': '../..'}

    tuner = tune(tmp_path, objective, configuration_space=space, optimizer='random', max_epochs=1, max_budget=30)
    incumbent = tuner.run()
    assert {c[name] for c in seen} == set(hostile)
    again = Tuner.resume(tuner.run_folder, objective, max_budget=31, configuration_space=space, progress=False)
    assert again.run()['configuration'] in seen
    assert incumbent['configuration_id'] in range(30)
    assert sorted(path.name for path in tmp_path.iterdir()) == [tuner.run_folder.name]
    assert os.listdir(tmp_path.parent / tmp_path.name) == [tuner.run_folder.name]


def test_a_kill_is_said_in_the_journal_so_that_its_pause_is_no_work(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def killing(event: Event) -> None:
        if event.epochs_spent > 5:
            raise Killed

    tuner = tune(tmp_path, Quadratic(), optimizer='asha', max_budget=20, callbacks=[killing])
    run = tuner.run_folder
    with pytest.raises(Killed):
        tuner.run()
    before = len(lines_of(run))
    resume(run, max_budget=22)
    resume(run, max_budget=24)  # after a stop there is nothing to say
    kinds = [json.loads(line)['event'] for line in lines_of(run)]
    assert [n for n, kind in enumerate(kinds) if kind == 'resume'] == [before]
    assert replay(run) == kinds.count('start')


@pytest.mark.parametrize('change', ['range', 'one more', 'one less'])
def test_resume_in_another_space_is_refused(tmp_path: Path, change: str) -> None:
    """Its points would mean other values. The run's own space is accepted where it has to be given."""
    x, y, z = Float('x', (-5.0, 5.0)), Float('y', (0.0, 1.0)), Float('z', (0.0, 1.0))
    own, other = ConfigurationSpace(), ConfigurationSpace()
    own.add(x, z)
    other.add(*{'range': [Float('x', (-5.0, 6.0)), z], 'one more': [x, y, z], 'one less': [x]}[change])
    objective = Quadratic()
    tuner = tune(tmp_path, objective, configuration_space=own, max_epochs=3, max_budget=10)
    tuner.run()
    with pytest.raises(ArgumentError, match=r'(?s)configuration_space.*warm_start'):
        Tuner.resume(tuner.run_folder, objective, configuration_space=other, max_budget=12, progress=False)
    (tuner.run_folder / 'configuration_space.json').write_text('of another ConfigSpace')
    again = Tuner.resume(tuner.run_folder, objective, configuration_space=own, max_budget=12, progress=False)
    again.run()
    assert again.epochs_spent == 12
