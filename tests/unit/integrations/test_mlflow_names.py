"""What MLflow is given, whatever a race and its hyperparameters are called; MLflow itself is not needed."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from hpo4dl import Event, Trial
from hpo4dl.integrations import trackers as module
from hpo4dl.integrations.trackers import MLflow, parameters_of


class Client:
    """Refuses what MLflow's does: other characters in names, names that are there, long ones, quotes in filters."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id='7')

    def search_runs(self, experiments: list[str], wanted: str, max_results: int) -> list[Any]:
        assert re.fullmatch(r"(tags\.`[\w.]+` = '[\w]*'( and )?)+", wanted)
        tags = dict(re.findall(r"`([\w.]+)` = '(\w*)'", wanted))
        return [self._shown(i) for i, run in self.runs.items() if tags.items() <= run['tags'].items()]

    def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> Any:
        assert all(len(value) <= 500 for value in (*tags.values(), run_name))
        self.runs[str(len(self.runs))] = {'tags': tags, 'metrics': [], 'params': {}}
        return self._shown(str(len(self.runs) - 1))

    def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
        assert len(metrics) + len(params) <= 100
        for name, value in params:
            assert re.fullmatch(r'[\w\-. :/]{1,250}', name, flags=re.ASCII)
            assert len(value) <= 500
            assert self.runs[run]['params'].setdefault(name, value) == value, 'it is there, and another one'
        self.runs[run]['metrics'] += metrics

    def log_metric(self, run: str, name: str, value: float, step: int) -> None:
        self.runs[run]['metrics'].append((name, value, step))

    @staticmethod
    def _shown(run: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(run_id=run))


@pytest.mark.parametrize('race', ["it's", 'a "b" `c`', '', 'x' * 1000, '\udc80', '学习'])
def test_every_epoch_is_logged_whatever_the_names_are(monkeypatch: pytest.MonkeyPatch, race: str) -> None:
    """R22."""
    client = Client()
    entities = SimpleNamespace(Metric=lambda *of: of, Param=lambda *of: of)
    mlflow = SimpleNamespace(MlflowClient=lambda uri: client, entities=entities)
    monkeypatch.setattr(module, 'import_extra', lambda name, extra: mlflow)
    names = ['a+b', 'a*b', 'a_b', 'x' * 300, 'x' * 301, '', '.', '学', '习', *map(str, range(300))]
    configuration = {name: f'{name} {i} ' * 100 for i, name in enumerate(names)}
    for first in (1, 251):  # two trackers: a race that is resumed
        tracker = MLflow(race)
        metrics = dict.fromkeys(range(first, first + 250), 0.5)
        trial = Trial(0, configuration, first - 1, first + 249)
        tracker(Event(trial, metrics, None, {'metric': 0.5}, first + 249, 1000, 1.0))
    assert len(client.runs) == 2
    told = client.runs[next(i for i, run in client.runs.items() if run['tags']['hpo4dl.part'] == '0')]
    assert [step for *_, step in told['metrics']] == list(range(1, 501))
    assert len(told['params']) == len(names)


def test_names_that_mlflow_takes_stay_as_they_are() -> None:
    assert parameters_of({'lr': 0.1, 'wide, deep': 2, 'a/b c-d.e:f': None}) == {
        'lr': '0.1', 'wide_ deep': '2', 'a/b c-d.e:f': 'None'
    }  # fmt: skip
