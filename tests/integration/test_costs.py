"""Budgets of seconds, and of what the objective function reports."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path
from typing import Any

import pytest
from objectives import Quadratic
from races import NAMES, tune
from runs import events_of, results_of

from hpo4dl import ArgumentError, Tuner, replay
from hpo4dl.analysis.report import report_text
from hpo4dl.analysis.run import read_run
from hpo4dl.trial import Trial

END = 9


class Priced(Quadratic):
    """An epoch costs between 1 and 16."""

    def __call__(self, configuration, epoch, previous_epoch, checkpoint_path):
        entries = super().__call__(configuration, epoch, previous_epoch, checkpoint_path)
        return [{**entry, 'cost': 1 + abs(configuration['x'])} for entry in entries]


def spent(run: Path) -> float:
    return sum(event['cost'] for event in events_of(run, 'result'))


@pytest.mark.parametrize('name', NAMES)
def test_what_is_reported_is_what_the_budget_counts(tmp_path: Path, name: str) -> None:
    objective = Priced()
    tuner = tune(tmp_path, objective, optimizer=name, max_budget=150, cost='reported')
    tuner.run()
    total = sum((1 + abs(x)) * (epoch - previous) for x, previous, epoch in objective.calls)
    assert spent(tuner.run_folder) == pytest.approx(total)
    assert 100 < total < 150 + END * 16
    assert tuner.stopped.startswith('max_budget: ')
    assert replay(tuner.run_folder) == len(objective.calls)
    if total < 150:
        assert 'units of cost that are left do not suffice' in tuner.stopped


def test_a_race_killed_anywhere_goes_on_by_the_costs_in_the_journal(tmp_path: Path) -> None:
    whole = tune(tmp_path, Priced(), optimizer='dyhpo', max_budget=120, cost='reported')
    whole.run()
    for dies_at in (3, 15, len(events_of(whole.run_folder, 'result')) - 1):
        tuner = tune(tmp_path, Priced(dies_at), optimizer='dyhpo', max_budget=120, cost='reported')
        with pytest.raises(KeyboardInterrupt):
            tuner.run()
        again = Tuner.resume(tuner.run_folder, Priced(), progress=False)
        again.run()
        assert results_of(again.run_folder) == results_of(whole.run_folder)


def test_seconds_are_measured_and_replayed_as_they_were(tmp_path: Path) -> None:
    def slow(configuration: Any, epoch: int, *arguments: Any) -> Any:
        time.sleep(0.002 * (epoch - arguments[0]) * (1 + abs(configuration['x'])))
        return Quadratic()(configuration, epoch, *arguments)

    tuner = tune(tmp_path, slow, optimizer='dyhpo', max_budget=0.5, cost='seconds')
    tuner.run()
    results = events_of(tuner.run_folder, 'result')
    for event in results:
        assert event['cost'] == event['seconds']
        assert math.isclose(sum(entry['cost'] for entry in event['epochs']), event['seconds'])
    assert tuner.stopped.startswith('max_budget: ')
    assert replay(tuner.run_folder) == len(results)
    report = report_text(read_run(tuner.run_folder))
    assert f'cost     {spent(tuner.run_folder):.6g} of 0.5 seconds' in report


def test_costs_are_in_the_table_and_the_report(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Priced(), max_budget=90, cost='reported')
    best = tuner.run()
    with open(tuner.run_folder / 'hpo4dl_results.csv', encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert sum(float(row['cost']) for row in rows) == pytest.approx(spent(tuner.run_folder))
    assert 'best_metric' in rows[0]
    assert best['cost'] == 1 + abs(best['configuration']['x'])
    assert f'cost     {spent(tuner.run_folder):.6g} of 90, as reported' in report_text(read_run(tuner.run_folder))
    assert all(
        'cost' not in entry['info'] for event in events_of(tuner.run_folder, 'result') for entry in event['epochs']
    )


def test_a_race_that_counts_epochs_leaves_a_users_cost_alone(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Priced(), max_budget=20)
    tuner.run()
    results = events_of(tuner.run_folder, 'result')
    assert all('cost' not in event and 'cost' not in entry for event in results for entry in event['epochs'])
    assert all(entry['info']['cost'] >= 1 for event in results for entry in event['epochs'])
    assert tuner.epochs_spent == 20
    assert 'cost   ' not in report_text(read_run(tuner.run_folder))


def test_a_cost_that_is_not_reported_fails_the_trial_and_says_what_is_needed(tmp_path: Path) -> None:
    def forgetful(configuration: Any, *arguments: Any) -> Any:
        return (Quadratic if configuration['x'] > 2 else Priced)()(configuration, *arguments)

    tuner = tune(tmp_path, forgetful, max_budget=90, cost='reported')
    tuner.run()
    failures = {event['failed'] for event in events_of(tuner.run_folder, 'result')}
    assert failures == {None, "the cost of epoch 1 is None; with cost='reported', each epoch needs a number >= 0"}


def test_calls_that_fail_without_a_word_end_a_race_of_costs(tmp_path: Path) -> None:
    def fails(configuration: Any, epoch: int, previous_epoch: int, checkpoint_path: str) -> Any:
        if previous_epoch or configuration['x'] > 0:
            raise RuntimeError('out of memory')
        return {'epoch': epoch, 'metric': 1.0, 'cost': 2.0}

    tuner = tune(tmp_path, fails, max_budget=200, cost='reported')
    tuner.run()
    assert tuner.stopped.startswith('max_budget: ')


def test_an_optimizer_of_ones_own_need_not_know_of_costs(tmp_path: Path) -> None:
    class Mine:
        """Each trial one epoch."""

        def __init__(self) -> None:
            self.started, self.told = 0, []

        def ask(self) -> Trial:
            self.started += 1
            return Trial(self.started - 1, {'x': float(self.started)}, 0, 1)

        def tell(self, trial: Trial, metrics: Any = None, failed: str | None = None) -> None:
            self.told.append(None)

        def replay(self, trial: Trial) -> None:
            self.started += 1

        def is_alive(self, trial_id: int) -> bool:
            return False

    class Careful(Mine):
        def tell(self, trial: Trial, metrics: Any = None, failed: str | None = None, costs: Any = None) -> None:
            self.told.append(costs)

    for kind, told in ((Mine, None), (Careful, {1: 2.0})):
        optimizer = kind()
        tuner = tune(tmp_path, Priced(), optimizer=optimizer, max_budget=20, cost='reported', candidates=None)
        tuner.run()
        assert optimizer.told[0] == told


def test_arguments(tmp_path: Path) -> None:
    for arguments, name in (
        ({'cost': 'dollars'}, 'cost'),
        ({'cost': 'seconds', 'max_budget': 0}, 'max_budget'),
        ({'cost': 'epochs', 'max_budget': 2.5}, 'max_budget'),
    ):
        with pytest.raises(ArgumentError) as raised:
            tune(tmp_path, Quadratic(), **arguments)
        assert raised.value.argument == name
    assert not list(tmp_path.iterdir())
    tuner = tune(tmp_path, Priced(), max_budget=2.5, cost='reported')
    tuner.run()
    assert tuner.settings.max_budget == 2.5
    assert Tuner.resume(tuner.run_folder, Priced(), max_budget=7.5, progress=False).settings.max_budget == 7.5
