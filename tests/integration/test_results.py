"""Results in Python: one object, from the tuner or from a folder, checked against the journal."""

from __future__ import annotations

import inspect
import json
import pickle
import random
import sys
from pathlib import Path
from typing import get_args

import pytest
from ConfigSpace import ConfigurationSpace
from objectives import Quadratic
from races import tune
from runs import events_of, hostile, results_of, tuned, written

import hpo4dl
from hpo4dl import ArgumentError, HPO4DLError, Incumbent, Tuner, tuner
from hpo4dl.analysis.report import report_text
from hpo4dl.analysis.run import to_json
from hpo4dl.optimizers.registry import OPTIMIZERS
from hpo4dl.race.budget import UNITS


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned(tmp_path_factory.mktemp('runs'))


def test_trials_curves_incumbent_and_checkpoint_are_those_of_the_journal(folder: Path) -> None:
    run = hpo4dl.read_run(folder)
    told = results_of(folder)
    assert {t: run.curve(t) for t in run.trials} == {
        t: {epoch: metric for trial, epoch, metric in told if trial == t} for t in run.trials
    }
    assert run.incumbent.metric == min(metric for _, _, metric in told)
    assert run.best_checkpoint == folder / 'best_trial'
    for missing in (-1, 10_000, '0'):
        with pytest.raises(ArgumentError, match='trial: got'):
            run.curve(missing)
    assert str(run).startswith(f'<Run: {len(run.trials)} trials, 100 epochs, metric ')


def test_a_data_frame_has_a_row_an_epoch_and_a_row_a_failure(folder: Path) -> None:
    pytest.importorskip('pandas')
    frame = hpo4dl.read_run(folder).to_pandas()
    trained = frame[frame.epoch.notna()]
    assert [(int(r.trial), int(r.epoch), r.metric) for r in trained.itertuples()] == results_of(folder)
    failed = sum(event['failed'] is not None for event in events_of(folder, 'result'))
    assert len(frame) - len(trained) == failed > 0
    assert frame['configuration.lr'].notna().all()


def test_without_pandas_and_matplotlib_they_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'pandas', None)
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    run = hpo4dl.read_run(folder)
    with pytest.raises(HPO4DLError, match='pip install pandas '):
        run.to_pandas()
    with pytest.raises(HPO4DLError, match='pip install matplotlib '):
        run.plot()


def test_a_plot_is_a_figure(folder: Path) -> None:
    pytest.importorskip('matplotlib')
    figure = hpo4dl.read_run(folder).plot()
    assert figure.axes[0].get_title(loc='left') == 'Learning curves'
    assert figure._repr_png_().startswith(b'\x89PNG'), 'a notebook draws it'
    assert pickle.loads(pickle.dumps(figure)).axes[0].get_title(loc='left') == 'Learning curves'


def test_a_notebook_shows_a_table_and_no_markup_of_others(folder: Path, tmp_path: Path) -> None:
    html = hpo4dl.read_run(folder)._repr_html_()
    assert html.count('<tr>') == 11
    assert '<th>lr</th>' in html
    assert '<script' not in hpo4dl.read_run(hostile(tmp_path / 'run'))._repr_html_()
    assert '<table>' in hpo4dl.read_run(written(tmp_path / 'empty', []))._repr_html_()


def test_a_tuner_shows_itself(tmp_path: Path) -> None:
    made = tune(tmp_path, Quadratic(), max_budget=9)
    assert repr(made) == f'<Tuner: 0 of 9 epochs, no result yet; {made.run_folder}>'
    assert made.results().incumbent is None
    best = made.run()
    found = f'metric {best.metric:.6g} (trial {best.configuration_id}, epoch {best.epoch})'
    assert repr(made) == f'<Tuner: 9 of 9 epochs, {found}; {made.run_folder}>'
    assert made.results().incumbent.metric == best.metric
    assert '<table>' in made._repr_html_()


def test_the_incumbent_is_a_dictionary_with_attributes(tmp_path: Path) -> None:
    best = tune(tmp_path, Quadratic(), max_budget=9).run()
    assert isinstance(best, Incumbent)
    assert isinstance(best, dict)
    for name in ('configuration', 'configuration_id', 'epoch', 'metric'):
        assert getattr(best, name) == best[name]
    assert best['half'] == best.epoch / 2
    assert json.loads(json.dumps(best)) == best


def test_words_that_an_editor_completes_are_those_that_are_accepted() -> None:
    assert set(get_args(tuner.OptimizerName)) == set(OPTIMIZERS)
    assert set(get_args(tuner.Unit)) == set(UNITS)
    types = {name: str(p.annotation) for name, p in inspect.signature(Tuner).parameters.items()}
    assert (types['optimizer'], types['keep_checkpoints'], types['checkpoints']) == (
        'OptimizerName | Optimizer', 'Keep', 'Mode'
    )  # fmt: skip


def test_beside_the_best_of_noisy_metrics_stands_what_to_expect(tmp_path: Path) -> None:
    """The best metric seen is luck; the posterior's is nearer to what the network has without the noise."""
    noise = random.Random(0)

    def truth(x: float, epoch: int) -> float:
        return 0.5 * (x - 0.5) ** 2 + 1 / epoch

    def noisy(configuration, epoch, previous_epoch, checkpoint_path):
        return [
            {'epoch': i, 'metric': truth(configuration['x'], i) + noise.gauss(0, 0.1)}
            for i in range(previous_epoch + 1, epoch + 1)
        ]

    seen, expected = [], []
    for seed in range(3):
        settings = {'max_epochs': 9, 'max_budget': 80, 'minimize': True, 'num_configurations': 50, 'quiet': True}
        made = Tuner(noisy, ConfigurationSpace({'x': (0.0, 1.0)}), output_path=tmp_path, seed=seed, **settings)
        best, run = made.run(), made.results()
        (stop,) = events_of(made.run_folder, 'stop')
        assert run.expected_metric == stop['expected_metric']
        assert f'expected {run.expected_metric:.6g} by all that was seen' in report_text(run)
        assert to_json(run)['incumbent']['expected'] == run.expected_metric
        true = truth(best.configuration['x'], best.epoch)
        seen.append(best.metric - true)
        expected.append(run.expected_metric - true)
    assert max(seen) < 0, 'luck'
    assert sum(map(abs, expected)) < sum(map(abs, seen))


def test_other_optimizers_expect_nothing(folder: Path) -> None:
    run = hpo4dl.read_run(folder)
    assert run.expected_metric is None
    assert 'expected' not in report_text(run)
