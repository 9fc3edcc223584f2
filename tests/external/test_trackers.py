"""The trackers, each against the real package; where one is not installed, its tests are skipped."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from ConfigSpace import ConfigurationSpace

import hpo4dl
from hpo4dl import Event, Tuner
from hpo4dl.integrations.trackers import MAX_OPEN, MLflow, TensorBoard, WeightsAndBiases
from hpo4dl.trial import Trial

pytestmark = pytest.mark.filterwarnings('ignore')  # the packages' own are not ours to mend

SPACE = ConfigurationSpace({'lr': (0.1, 1.0), 'kind': ['a', 'b'], 'wide, deep': (1, 9)})
STARTS = [{'lr': i / 10, 'kind': 'a', 'wide, deep': i} for i in range(1, 5)]
CURVES = {0: {1: 1.0, 2: 0.5}, 1: {1: 2.0, 2: 1.0}, 2: {1: 3.0}, 3: {1: 4.0, 2: 2.0}}  # trial 2 fails in epoch 2


def objective_function(configuration: dict[str, Any], epoch: int, previous_epoch: int, path: str) -> Any:
    i = configuration['wide, deep']
    metrics = {e: math.nan if i == 3 and e == 2 else i / e for e in range(previous_epoch + 1, epoch + 1)}
    return [{'epoch': e, 'metric': metric} for e, metric in metrics.items()]


def race(tracker: Any, folder: Path) -> list[Event]:
    """Four trials of two epochs each, through a resume with another tracker of the same kind in the middle."""
    events: list[Event] = []
    first = tracker()
    settings: dict[str, Any] = {'initial_configurations': STARTS, 'minimize': True, 'max_epochs': 2}
    tuner = Tuner(
        objective_function, SPACE, max_budget=4, optimizer='random', output_path=folder, seed=0,
        callbacks=[events.append, first], **settings,
    )  # fmt: skip
    tuner.run()
    first.close()
    second = tracker()
    callbacks = [events.append, second]
    Tuner.resume(tuner.run_folder, objective_function, max_budget=8, callbacks=callbacks).run()
    second.close()
    assert {e.trial.id for e in events if e.failed} == {2}
    return events


def test_tensorboard_shows_every_curve(tmp_path: Path) -> None:
    pytest.importorskip('tensorboard', reason='needs tensorboard')
    reader = importlib.import_module('tensorboard.backend.event_processing.event_multiplexer')
    logs = tmp_path / 'logs'
    race(lambda: TensorBoard(logs), tmp_path)
    shown = reader.EventMultiplexer().AddRunsFromDirectory(str(logs)).Reload()
    assert set(shown.Runs()) == {'race', *(f'trial_{i:04d}' for i in CURVES)}
    for i, curve in CURVES.items():
        scalars = [(s.step, s.value) for s in shown.Scalars(f'trial_{i:04d}', 'metric')]
        assert scalars == list(curve.items())
    assert [(s.step, s.value) for s in shown.Scalars('race', 'incumbent')] == [(n, 0.5) for n in (2, 4, 6, 8)]
    assert '_hparams_/session_start_info' in str(shown.PluginRunToTagToContent('hparams'))
    assert 'failed/text_summary' in str(shown.PluginRunToTagToContent('text'))


def test_tensorboard_keeps_few_files_open(tmp_path: Path) -> None:
    pytest.importorskip('tensorboard', reason='needs tensorboard')
    tracker = TensorBoard(tmp_path)
    for i in range(MAX_OPEN + 10):
        tracker(Event(Trial(i, {'lr': 0.1}, 0, 1), {1: 0.5}, None, None, i + 1, 100, 1.0))
    assert len(tracker._writers) == MAX_OPEN
    tracker.close()
    assert len(list(tmp_path.iterdir())) == MAX_OPEN + 10


def test_mlflow_has_a_run_a_trial_nested_in_the_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip('mlflow', reason='needs mlflow')
    monkeypatch.chdir(tmp_path)
    uri = f'sqlite:///{tmp_path}/mlflow.db' if importlib.util.find_spec('sqlalchemy') else f'file://{tmp_path}/mlruns'
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    race(lambda: MLflow('the race', tracking_uri=uri), tmp_path)
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name('hpo4dl').experiment_id])
    by_name = {run.info.run_name: run for run in runs}
    assert len(runs) == len(by_name) == 5, 'a resumed race goes on in the same runs'
    parent = by_name['the race']
    for i, curve in CURVES.items():
        run = by_name[f'trial {i}']
        assert run.data.tags['mlflow.parentRunId'] == parent.info.run_id
        assert run.data.params == {'lr': str(STARTS[i]['lr']), 'kind': 'a', 'wide_ deep': str(i + 1)}
        history = client.get_metric_history(run.info.run_id, 'metric')
        assert [(m.step, m.value) for m in history] == list(curve.items())
        assert run.info.status == ('FAILED' if i == 2 else 'FINISHED')
    assert 'not a finite number' in by_name['trial 2'].data.tags['failed']
    best = client.get_metric_history(parent.info.run_id, 'incumbent')
    assert [(m.step, m.value) for m in best] == [(n, 0.5) for n in (2, 4, 6, 8)]


def test_wandb_logs_a_row_an_epoch_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip('wandb', reason='needs wandb')
    monkeypatch.setenv('HOME', str(tmp_path))
    trackers: list[Any] = []
    summary: dict[str, Any] = {}

    def tracker() -> WeightsAndBiases:
        trackers.append(WeightsAndBiases(name='the race', dir=tmp_path, mode='offline'))
        rows: list[dict[str, Any]] = []
        run, log = trackers[-1].run, trackers[-1].run.log
        monkeypatch.setattr(run, 'log', lambda row: rows.append(row) or log(row) or summary.update(run.summary))
        trackers[-1].rows = rows
        return trackers[-1]

    race(tracker, tmp_path)
    rows = [row for one in trackers for row in one.rows]
    curves: dict[int, dict[int, float]] = {}
    for row in rows:
        if 'metric' in row:
            curves.setdefault(row['trial'], {})[row['epoch']] = row['metric']
    assert curves == CURVES
    assert [row['trial'] for row in rows if 'failed' in row] == [2]
    assert summary['incumbent'] == 0.5
    assert summary['curves/trial_3'] == 2.0
    files = list((tmp_path / 'wandb').glob('offline-run-*/run-*.wandb'))
    assert len(files) == 2
    assert all(file.stat().st_size > 0 for file in files)
    assert wandb.run is None, 'the runs are finished'


@pytest.mark.parametrize(
    ('module', 'make', 'extra'),
    [
        ('torch.utils.tensorboard', lambda: TensorBoard('logs'), 'tensorboard'),
        ('mlflow', lambda: MLflow('race'), 'mlflow'),
        ('wandb', WeightsAndBiases, 'wandb'),
    ],
)
def test_without_the_package_the_extra_is_named(
    module: str, make: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(hpo4dl.HPO4DLError, match=rf'pip install {extra}'):
        make()
