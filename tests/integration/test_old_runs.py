"""Runs that older versions wrote, in `tests/data`: today's code goes on with them, replays and reports them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from old_runs import DATA, contents, space, train, train_or_fail
from runs import events_of, results_of

from hpo4dl import JournalError, Tuner, replay
from hpo4dl.tools.cli import main

RUNS = {
    'run_of_schema_1': (train, 22, 16, 60),
    'asha_run_of_schema_1': (train_or_fail, 66, 44, 90),
    'dyhpo_run_of_schema_1': (train_or_fail, 67, 68, 100),
}
"""The objective function, the epochs in the journal, its decisions, and a budget to go on with."""


@pytest.fixture(params=RUNS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy, by the name that it has in `tests/data`."""
    return Path(shutil.copytree(DATA / request.param, tmp_path / request.param))


def steps_of(run: Path) -> set[tuple[int, int]]:
    """Of each decision, the trial and the epoch that it had reached."""
    return {(e['trial'], e.get('acknowledged', e['previous_epoch'])) for e in events_of(run, 'start')}


def test_they_hold_what_makes_them_worth_keeping() -> None:
    needed = set(contents(DATA / 'asha_run_of_schema_1'))
    for name in ('asha_run_of_schema_1', 'dyhpo_run_of_schema_1'):
        found = {what for what, times in contents(DATA / name).items() if times}
        assert found >= needed - ({'cut by the budget'} if 'dyhpo' in name else set())


def test_it_goes_on_with_a_larger_budget(old: Path) -> None:
    """No line is changed, no epoch is recorded twice, and all decisions but an older DyHPO's can be taken again."""
    objective, epochs, decisions, budget = RUNS[old.name]
    before, journal = results_of(old), (old / 'journal.jsonl').read_bytes()
    assert (len(before), len(steps_of(old))) == (epochs, decisions)
    tuner = Tuner.resume(old, objective, configuration_space=space(), max_budget=budget, progress=False)
    incumbent = tuner.run()
    after = results_of(old)
    assert tuner.epochs_spent <= budget
    assert tuner.stopped.startswith('max_budget')
    assert (old / 'journal.jsonl').read_bytes().startswith(journal)
    assert len({(trial, epoch) for trial, epoch, _ in after}) == len(after) > epochs
    assert after[:epochs] == before
    assert incumbent['metric'] == min(metric for _, _, metric in after)
    assert int((old / 'best_trial' / 'epochs').read_text()) >= incumbent['epoch']
    assert len(steps_of(old)) > decisions
    if 'dyhpo' in old.name:  # its warm-up had 13 trials, and its surrogate another prior
        with pytest.raises(JournalError, match='now it is'):
            replay(old, configuration_space=space())
        return
    assert replay(old, configuration_space=space()) == len(steps_of(old))


def test_it_is_reported(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['report', str(old), '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    best = min(results_of(old), key=lambda result: result[2])
    assert tuple(report['incumbent'][key] for key in ('configuration_id', 'epoch', 'metric')) == best
    assert main(['export', str(old), '--to', 'csv']) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(int(r['trial']), int(r['epoch']), float(r['metric'])) for r in rows if r['metric']] == results_of(old)
