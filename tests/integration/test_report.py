"""Reading a run's folder, checked against the tuner's own table and against runs written by hand."""

from __future__ import annotations

import csv
import json
import os
import socket
from pathlib import Path

import pytest
from runs import HOSTILE, content, hostile, large, tuned, written

from hpo4dl import JournalError
from hpo4dl.analysis.report import comparison_text, list_text, report_text
from hpo4dl.analysis.run import read_run, to_json
from hpo4dl.analysis.text import format_table
from hpo4dl.records.journal import encode_line
from hpo4dl.records.lock import process_start_time as birth
from hpo4dl.text import escape


def test_tells_what_the_tuner_wrote_into_its_table(tmp_path: Path) -> None:
    folder = tuned(tmp_path)
    with open(folder / 'hpo4dl_results.csv', encoding='utf-8', newline='') as file:
        table = list(csv.DictReader(file))
    run = read_run(folder)
    read = [(o.trial, o.epoch, o.metric, o.info['half']) for o in run.observations]
    assert read == [(int(r['configuration_id']), int(r['epoch']), float(r['metric']), float(r['half'])) for r in table]
    assert run.epochs_spent == 100
    assert run.incumbent.metric == min(float(row['metric']) for row in table)
    assert any(trial.failed == 'RuntimeError: out of memory' for trial in run.trials.values())
    assert str({**run.trials[run.incumbent.trial].configuration}) in {row['configuration'] for row in table}
    kinds = {h.name: (h.kind, h.log, h.integer, h.lower, h.upper, h.values) for h in run.hyperparameters}
    assert kinds == {
        'lr': ('number', True, False, 1e-5, 1e-1, ()),
        'momentum': ('number', False, False, 0.0, 0.99, ()),
        'optimizer': ('category', False, False, None, None, ('sgd', 'adam')),
        'size': ('rank', False, False, None, None, ('s', 'm', 'l')),
        'width': ('number', True, True, 16, 512, ()),
    }


def test_a_run_by_hand(tmp_path: Path) -> None:
    a, b, c = {'x': 1.0}, {'x': 2.0}, {'x': 3.0}
    run = read_run(written(tmp_path / 'run', [(a, [0.9, 0.5, 0.7], None), (b, [0.6], None), (c, [0.8], 'broke')]))
    assert [(o.trial, o.epoch, o.metric, o.spent) for o in run.improvements()] == [(0, 1, 0.9, 1), (0, 2, 0.5, 2)]
    assert [trial.id for trial in run.ranked()] == [0, 1, 2]
    assert run.epochs_spent == 3 + 1 + 2  # the call that failed counts
    assert run.epochs_saved() == (9 - 3) + (9 - 1)  # nothing is saved by a failure
    assert run.elapsed == 2 * 6
    text = report_text(run)
    for line in ['note', 'running']:
        assert line not in text
    assert '6 spent on 3 trials; 2 paused before epoch 9, which saved 14 (70% of training all to the end)' in text
    assert 'failed   1 of 3 trials: broke' in text
    assert text.index('incumbent      0     0.5         2           3  x=1') < text.index('2.             1     0.6')


def test_the_better_metric_is_the_larger_one_when_maximized(tmp_path: Path) -> None:
    curves = [({'x': 1.0}, [0.1, 0.3], None), ({'x': 2.0}, [0.2], None)]
    run = read_run(written(tmp_path / 'run', curves, minimize=False))
    assert [(o.trial, o.metric) for o in run.improvements()] == [(0, 0.1), (0, 0.3)]
    assert [trial.id for trial in run.ranked()] == [0, 1]


def test_pauses_between_two_runs_of_a_tuner_are_no_time(tmp_path: Path) -> None:
    folder = written(tmp_path / 'run', [({'x': 1.0}, [0.9, 0.8], None)])  # works for 4 seconds, then stops
    begin = {'event': 'start', 'attempt': 9, 'trial': 0, 'previous_epoch': 2, 'epoch': 3}
    end = {'event': 'result', 'attempt': 10, 'trial': 0, 'epochs': [{'epoch': 3, 'metric': 0.7, 'info': {}}]}
    end |= {'failed': None, 'traceback': None, 'seconds': 3.0, 'overhead': 0.0}
    with open(folder / 'journal.jsonl', 'ab') as journal:
        journal.write(encode_line({**begin, 'time': 1e9 + 1000}))
        journal.write(encode_line({**begin, 'attempt': 10, 'time': 1e9 + 5000}))  # the first attempt was killed
        journal.write(encode_line({**end, 'time': 1e9 + 5003}))
    run = read_run(folder)
    assert run.elapsed == 4 + 3
    assert run.epochs_spent == 3
    assert run.stopped is None
    assert 'interrupted' in run.status()


@pytest.mark.parametrize('cut_at', range(0, 4001, 199))
def test_a_journal_cut_anywhere_is_read_as_far_as_it_is_whole(tmp_path: Path, cut_at: int) -> None:
    folder = written(tmp_path / 'run', [({'x': float(i)}, [1.0, 0.9, 0.8], None) for i in range(5)])
    journal = folder / 'journal.jsonl'
    whole = journal.read_bytes()[:cut_at]
    journal.write_bytes(whole)
    before = content(folder)
    run = read_run(folder)
    report_text(run)
    assert len(run.observations) == sum(b'"result"' in line for line in whole.split(b'\n')[:-1])
    assert content(folder) == before
    assert json.loads(json.dumps(to_json(run), allow_nan=False))['epochs_spent'] == run.epochs_spent


def test_damaged_lines_are_left_out_and_said(tmp_path: Path) -> None:
    folder = written(tmp_path / 'run', [({'x': float(i)}, [1.0, 0.9, 0.8], None) for i in range(5)])
    lines = (folder / 'journal.jsonl').read_bytes().split(b'\n')
    for number in (1, 2, 5, 8):  # the run, a start with its configuration, a result, a start
        lines[number - 1] = b'\x00\xff' + lines[number - 1][2:]
    (folder / 'journal.jsonl').write_bytes(b'\n'.join(lines))
    run = read_run(folder)
    assert run.notes == ['journal.jsonl: 4 damaged lines are left out (line 1, 2, 5, 8)']
    assert len(run.observations) == 14
    assert run.trials[0].metrics == {1: 1.0, 3: 0.8}
    assert run.trials[0].configuration == {}
    assert run.trials[4].configuration == {'x': 4.0}
    assert run.notes[0] in report_text(run)


def test_files_that_are_gone_are_said(tmp_path: Path) -> None:
    folder = tuned(tmp_path)
    (folder / 'settings.json').write_text('{')
    (folder / 'hyperparameters.json').unlink()
    run = read_run(folder)
    assert [note.split()[0] for note in run.notes] == ['settings.json', 'hyperparameters.json']
    assert {h.name: h.kind for h in run.hyperparameters}['lr'] == 'number'
    assert run.max_epochs == 9
    report_text(run)


def test_who_works_on_it(tmp_path: Path) -> None:
    folder = written(tmp_path / 'run', [({'x': 1.0}, [0.9], None)])
    lock = {'host': socket.gethostname(), 'pid': os.getpid(), 'birth': birth(os.getpid())}
    assert read_run(folder).status() == 'stopped: time_limit: over'
    for owner, said in [
        (lock, f'process {os.getpid()} on this host works on it'),
        ({**lock, 'birth': 'another'}, 'stopped: time_limit: over'),
        ({**lock, 'host': 'elsewhere'}, f'process {os.getpid()} on host elsewhere works on it, or died there'),
        ('half a li', 'stopped: time_limit: over'),
    ]:
        (folder / 'lock').write_text(json.dumps(owner))
        assert read_run(folder).status() == said


def test_configurations_stand_beside_the_numbers_where_all_of_them_fit() -> None:
    rows = [['', 'metric', 'configuration'], ['incumbent' + '.' * 42, '0.1', 'lr=0.05461, w=31']]
    assert len(format_table(rows, 80)) == 2
    assert len(format_table([rows[0], [*rows[1][:2], rows[1][2] + ', k=1234567']], 80)) == 4


def test_no_run_is_an_error_that_helps(tmp_path: Path) -> None:
    folder = tuned(tmp_path)
    with pytest.raises(JournalError, match=f'runs below it: {folder.name}'):
        read_run(tmp_path)
    with pytest.raises(JournalError, match='not the folder of a run'):
        read_run(tmp_path / 'none')
    (folder / 'journal.jsonl').write_bytes(encode_line({'event': 'run', 'schema': 99}))
    with pytest.raises(JournalError, match='schema 99'):
        read_run(folder)


def test_a_run_that_has_just_begun_and_one_of_failures(tmp_path: Path) -> None:
    begun = read_run(written(tmp_path / 'begun', [], stop=False))
    failed = read_run(written(tmp_path / 'failed', [({'x': 1.0}, [], 'broke')] * 3))
    for run in (begun, failed):
        assert 'No trial has given a metric yet.' in report_text(run)
        assert to_json(run)['incumbent'] is None
    assert 'failed   3 of 3 trials: broke' in report_text(failed)
    memory = written(tmp_path / 'memory', [({'x': 1.0}, [], 'torch.OutOfMemoryError: CUDA out of memory')])
    assert 'failed   1 of 1 trial, out of memory: torch.OutOfMemoryError' in report_text(read_run(memory))
    assert len(comparison_text([begun, failed]).split('\n')) == 4  # heads, two runs, and that the spaces differ


def test_failures_are_told_apart_by_their_kind(tmp_path: Path) -> None:
    reasons = [
        'exit status 1: MemoryError',
        'CUDA out of memory',
        "No module named 'x'",
        'error: argument --lr: invalid',
    ]
    reasons += ['time limit: no end after 9 seconds', 'killed: SIGKILL', 'exit status 3: other', 'MemoryError: ']
    run = read_run(written(tmp_path / 'run', [({'x': 1.0}, [], reason) for reason in reasons]))
    run.lost += ['its worker died: exit code -9', "its worker died: out of memory: killed by the kernel's"]
    text = ' '.join(report_text(run).split())
    assert 'failed 8 of 8 trials: 3 out of memory, 1 missing module, 1 wrong argument, 1 time limit, 1 lost' in text
    assert '1 lost worker, 1 error (with tracebacks' in text
    assert 'lost 2 calls, made again: 1 lost worker, 1 out of memory; the last one: its worker died: out' in text
    kinds = [trial['kind'] for trial in to_json(run)['trials']]
    assert (
        kinds
        == 'out of memory,out of memory,missing module,wrong argument,time limit,lost worker,error,out of memory'.split(
            ','
        )
    )


def test_text_is_printable_whatever_the_names(tmp_path: Path) -> None:
    run = read_run(hostile(tmp_path / 'a\nb'))
    lines = report_text(run).split('\n')
    assert all(line.isprintable() and len(line) <= 120 for line in lines)
    assert any('größe 学习率 🙂' in line for line in lines)
    assert {h.name for h in run.hyperparameters} == set(HOSTILE)
    assert escape('\ud800\x1b[2J') == '\\ud800\\x1b[2J'


def test_runs_side_by_side(tmp_path: Path) -> None:
    one = written(tmp_path / 'one', [({'x': 1.0}, [0.9, 0.8, 0.7, 0.6], None)])
    two = written(tmp_path / 'two', [({'x': float(i)}, [0.95 - 0.1 * i], None) for i in range(8)], max_epochs=5)
    lines = [line.split() for line in comparison_text([read_run(one), read_run(two)]).split('\n')]
    assert lines[0] == [
        'run',
        'at',
        '1',
        'at',
        '2',
        'at',
        '4',
        'best',
        'at',
        *'optimizer, trials, epochs, time'.split(),
    ]
    assert lines[1] == ['one', '0.9', '0.8', '0.6', '0.6', '4', *'dyhpo, seed 0: 1 trial, 4 epochs in 0:08'.split()]
    assert lines[2] == [
        'two',
        '0.95',
        '0.85',
        '0.65',
        '0.25',
        '8',
        *'dyhpo, seed 0: 8 trials, 8 epochs in 0:16'.split(),
    ]
    assert lines[3:] == ['note: their max_epochs differ'.split()]
    long = written(
        tmp_path / 'experiment_20261128-043707', [({'x': 1.0}, [0.00280385, 0.001234567, 0.0012, 0.001], None)]
    )
    narrow = comparison_text([read_run(long)] * 2, 80)
    assert '...' not in narrow
    assert narrow.count('0.0028039') == 2
    assert max(map(len, narrow.split('\n'))) <= 80


def test_five_thousand_trials(tmp_path: Path) -> None:
    run = read_run(large(tmp_path / 'run'))
    assert len(run.trials) == 5000
    assert min(o.metric for o in run.observations) == -1e34
    assert run.incumbent.metric == max(o.metric for o in run.observations)
    assert len(report_text(run).split('\n')) < 40


def test_what_counts_seconds_is_not_set_beside_epochs(tmp_path: Path) -> None:
    run = read_run(tuned(tmp_path, cost='seconds', max_budget=0.002))
    row = list_text([run]).splitlines()[1]
    assert row.split()[2] == str(run.epochs_spent)
    assert 'seconds' in report_text(run)


def test_no_failures_are_said_where_they_are_asked_for(tmp_path: Path) -> None:
    run = read_run(tuned(tmp_path, max_budget=9))
    assert 'failed   none' in report_text(run, tracebacks=True)
    assert 'failed' not in report_text(run)
