"""A race ends with a trained network: the rest of a budget is kept for one, and `Tuner.finish` trains the best."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from objectives import Quadratic
from races import NAMES, tune
from runs import events_of, results_of, written

from hpo4dl import ASHA, ArgumentError, EveryTrialFailedError, Tuner, replay
from hpo4dl.analysis.explain import explain, explanation_text
from hpo4dl.analysis.report import report_text
from hpo4dl.analysis.run import read_run
from hpo4dl.tools.cli import main

END = 9


def by(run: Path) -> list[str | None]:
    return [event.get('by') for event in events_of(run, 'start')]


def complete(run: Path) -> set[int]:
    return {trial for trial, epoch, _ in results_of(run) if epoch == END}


def resume(run: Path, objective: Any = None, **arguments: Any) -> Tuner:
    return Tuner.resume(run, objective or Quadratic(), progress=False, **arguments)


# The rest of the budget


@pytest.mark.parametrize(('name', 'budget', 'workers'), [(name, 2 * END, 1) for name in NAMES] + [('asha', 25, 3)])
def test_a_budget_of_two_trainings_leaves_a_trained_trial(tmp_path: Path, name: str, budget: int, workers: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        more = {} if workers == 1 else {'executor': pool, 'num_workers': workers}
        tuner = tune(tmp_path, Quadratic(), optimizer=name, max_budget=budget, **more)
        tuner.run()
    assert complete(tuner.run_folder)
    assert tuner.epochs_spent <= budget
    assert tuner.stopped.startswith('max_budget')
    replay(tuner.run_folder)


def test_a_smaller_budget_is_spent_as_the_optimizer_says(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Quadratic(), optimizer='asha', max_budget=2 * END - 1)
    tuner.run()
    assert set(by(tuner.run_folder)) == {None}
    assert not complete(tuner.run_folder)


@pytest.mark.parametrize('name', ['dyhpo', 'hyperband'])
def test_a_race_killed_while_the_rest_is_spent_goes_on_to_the_same_end(tmp_path: Path, name: str) -> None:
    whole = tune(tmp_path, Quadratic(), optimizer=name, max_budget=2 * END)
    whole.run()
    forced = [n for n, who in enumerate(by(whole.run_folder)) if who == 'reserve']
    assert forced
    for dies_at in (forced[0], forced[-1]):
        tuner = tune(tmp_path, Quadratic(dies_at), optimizer=name, max_budget=2 * END)
        with pytest.raises(KeyboardInterrupt):
            tuner.run()
        again = resume(tuner.run_folder)
        again.run()
        assert results_of(again.run_folder) == results_of(whole.run_folder)
        assert len(by(again.run_folder)) == len(by(whole.run_folder)) + 1


def test_what_was_forced_is_explained(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Quadratic(), optimizer='dyhpo', max_budget=2 * END)
    tuner.run()
    step = by(tuner.run_folder).index('reserve') + 1
    text = ' '.join(explanation_text(explain(tuner.run_folder, step)).split())
    assert 'the rest of the budget was kept to train the most promising one to the end' in text
    assert 'the race started' in explanation_text(explain(tuner.run_folder, 1))


def test_the_best_trained_trial_is_named_beside_the_incumbent(tmp_path: Path) -> None:
    curves = [({'x': 0}, [0.5, 0.1], None), ({'x': 1}, [0.4] * END, None), ({'x': 2}, [0.2] * 8 + [0.3], None)]
    report = report_text(read_run(written(tmp_path / 'run', curves)))
    table = [line.split()[:5] for line in report.split('\n') if 'x=' in line]
    assert table == [
        ['incumbent', '0', '0.1', '2', '2'],
        ['complete', '2', '0.3', '9', '9'],
        ['2.', '2', '0.2', '1', '9'],
        ['3.', '1', '0.4', '1', '9'],
    ]
    assert 'complete' not in report_text(read_run(written(tmp_path / 'other', curves[1:2])))


# After the race


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('keep', ['alive', 'best'])
def test_the_most_promising_are_trained_to_the_end_and_the_best_is_returned(
    tmp_path: Path, name: str, keep: str
) -> None:
    objective = Quadratic()
    tuner = tune(tmp_path, objective, optimizer=name, max_budget=40, keep_checkpoints=keep)
    raced = tuner.run()
    spent, before = tuner.epochs_spent, len(objective.calls)
    best = tuner.finish(top=3)
    chosen = events_of(tuner.run_folder, 'finish')[0]['trials']
    assert len(chosen) == 3
    assert set(chosen) <= complete(tuner.run_folder)
    assert raced['configuration_id'] in chosen
    assert best == tuner.incumbent
    assert (best['configuration_id'] in chosen, best['epoch']) == (True, END)
    assert (tuner.run_folder / 'best_trial' / 'epochs').read_text() == str(END)
    assert tuner.epochs_spent == spent + sum(e - p for _, p, e in objective.calls[before:])
    assert set(by(tuner.run_folder)[before:]) <= {'finish'}
    assert tuner.stopped.startswith(f'finish: trials trained to epoch {END}: ')
    assert (tuner.run_folder / 'checkpoints').exists() == (keep != 'best')
    replay(tuner.run_folder)
    assert tuner.finish(top=3) == best  # there is nothing left to do
    assert len(by(tuner.run_folder)) == len(objective.calls)


def test_what_it_trains_is_not_charged_and_the_race_can_go_on(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Quadratic(), optimizer='dyhpo', max_budget=20)
    tuner.run()
    tuner.finish(top=2)
    after = tuner.epochs_spent
    assert after > 20
    report = report_text(read_run(tuner.run_folder))
    assert 'epochs   20 of 20 spent on' in report
    assert f'and {after - 20} after the race' in report
    resume(tuner.run_folder).run()
    assert len(results_of(tuner.run_folder)) == after
    again = resume(tuner.run_folder, max_budget=26)
    again.run()
    assert again.epochs_spent == after + 6
    replay(tuner.run_folder)
    again.finish(top=3)
    assert len(events_of(tuner.run_folder, 'finish')) == 2


@pytest.mark.parametrize('dies_at', [0, 4])
def test_interrupted_it_goes_on_with_the_same_trials(tmp_path: Path, dies_at: int) -> None:
    whole = tune(tmp_path, Quadratic(), optimizer='dyhpo', max_budget=20)
    whole.run()
    whole.finish(top=3)
    tuner = tune(tmp_path, Quadratic(), optimizer='dyhpo', max_budget=20)
    tuner.run()
    with pytest.raises(KeyboardInterrupt):
        resume(tuner.run_folder, Quadratic(dies_at)).finish(top=3)
    second = resume(tuner.run_folder)
    assert second.finish(top=1) == whole.incumbent | {  # those that were chosen, not one
        key: second.incumbent[key] for key in ('time', 'overhead_time', 'total_time')
    }
    assert results_of(tuner.run_folder) == results_of(whole.run_folder)
    assert len(events_of(tuner.run_folder, 'finish')) == 1


def test_signaled_it_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuner = tune(tmp_path, Quadratic(), optimizer='asha', max_budget=20)
    tuner.run()
    again = resume(tuner.run_folder, callbacks=[lambda event: os.kill(os.getpid(), signal.SIGINT)])
    again.finish(top=3)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f'hpo4dl: to go on: Tuner.resume({str(tuner.run_folder)!r}, objective_function).finish(3)'
    assert again.epochs_spent < resume_and_finish(tuner.run_folder, 3).epochs_spent


def resume_and_finish(run: Path, top: int) -> Tuner:
    tuner = resume(run)
    tuner.finish(top)
    return tuner


KILLED = """
import os, sys
sys.path[:0] = {path!r}
from objectives import Quadratic
from hpo4dl import Tuner
calls = 0
def objective(*arguments):
    global calls
    calls += 1
    if calls == 3:
        os.kill(os.getpid(), 9)
    return Quadratic()(*arguments)
Tuner.resume({run!r}, objective, progress=False).finish(top=2)
"""


def test_killed_it_goes_on_with_the_same_trials(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Quadratic(), optimizer='asha', max_budget=20)
    tuner.run()
    script = KILLED.format(path=[os.path.dirname(sys.modules['objectives'].__file__ or '')], run=str(tuner.run_folder))
    done = subprocess.run([sys.executable, '-c', script], check=False)
    assert done.returncode == -9
    chosen = events_of(tuner.run_folder, 'finish')[0]['trials']
    objective = Quadratic()
    resume(tuner.run_folder, objective).finish(top=2)
    assert set(chosen) <= complete(tuner.run_folder)
    assert len(events_of(tuner.run_folder, 'finish')) == 1
    assert len(results_of(tuner.run_folder)) == len(
        {(trial, epoch) for trial, epoch, _ in results_of(tuner.run_folder)}
    )


def test_it_works_with_an_executor_and_with_an_object(tmp_path: Path) -> None:
    optimizer = ASHA(tune(tmp_path, Quadratic()).optimizer.space, END, minimize=True, seed=0)
    with ThreadPoolExecutor(3) as pool:
        more = {'executor': pool, 'num_workers': 3, 'optimizer': optimizer}
        tuner = tune(tmp_path, Quadratic(), max_budget=40, time_limit=60, **more)
        tuner.run()
        tuner.finish(top=5)
    assert len(complete(tuner.run_folder)) >= 5


def test_failures_of_what_is_finished_end_nothing(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Quadratic(), optimizer='asha', max_budget=20)
    incumbent = tuner.run()

    def fails(configuration: Any, *arguments: Any) -> Any:
        if configuration == incumbent['configuration']:
            raise RuntimeError('out of memory')
        return Quadratic()(configuration, *arguments)

    again = resume(tuner.run_folder, fails)
    assert again.finish(top=3)['configuration_id'] == incumbent['configuration_id']
    chosen = events_of(tuner.run_folder, 'finish')[0]['trials']
    assert complete(tuner.run_folder) >= {*chosen} - {incumbent['configuration_id']}


def test_arguments_and_a_race_that_never_ran(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Quadratic())
    for top in (0, -1, 1.5, None, True):
        with pytest.raises(ArgumentError, match='top'):
            tuner.finish(top=top)
    with pytest.raises(EveryTrialFailedError, match='no trial has a metric'):
        tuner.finish()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tuner = tune(tmp_path, Quadratic(), optimizer='asha', max_budget=20)
    tuner.run()
    (tmp_path / 'finishes.py').write_text('from objectives import Quadratic\nobjective = Quadratic()\n')
    monkeypatch.chdir(tmp_path)
    assert main(['finish', str(tuner.run_folder), 'finishes:objective', '--top', '2']) == 0
    assert f'stopped: finish: trials trained to epoch {END}: ' in capsys.readouterr().err
    assert len(events_of(tuner.run_folder, 'finish')[0]['trials']) == 2
    assert main(['finish', str(tuner.run_folder), 'finishes:objective', '--top', '0']) == 1
