"""Each beginner's mistake is told once, in time, and nothing is said of races that do as they should."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hpo4dl import Trial
from hpo4dl.narration.advice import Advisor, is_larger_better
from hpo4dl.records.state import Checkpoint, Observation, RunState, TrialRecord


class Race:
    """Results as they come, and what is said about them."""

    def __init__(self, minimize: bool = True) -> None:
        self.state = RunState(minimize)
        self.advisor = Advisor()
        self.told: list[str] = []

    def step(self, trial: int, metrics: Sequence[float], failed: str | None = None, size: int = 9) -> None:
        record = self.state.trials.setdefault(trial, TrialRecord(trial, {}))
        previous = record.epoch
        record.metrics.update({previous + i: metric for i, metric in enumerate(metrics, 1)})
        if failed is None:
            self.state.checkpoints[trial] = Checkpoint(0, size)
        else:
            self.state.checkpoints.pop(trial, None)  # removed before anybody is told
        asked = Trial(trial, {}, previous, previous + max(len(metrics), 1))
        self.told += self.advisor.look(asked, failed, self.state)


def test_nothing_is_said_of_a_good_race() -> None:
    race = Race()
    for trial in range(20):
        race.step(trial, [1.0 + trial, 0.5 + trial])
        race.step(trial, [0.4 + trial, 0.3 + trial], failed='CUDA out of memory' if trial == 3 else None)
    assert race.told == []


def test_trained_on_though_the_folder_is_empty() -> None:
    race = Race()
    for trial in range(3):
        race.step(trial, [1.0 - trial / 10, 0.9], size=0)
    assert race.told == [], 'a first call may leave nothing: perhaps it is never called again'
    race.step(2, [0.7], size=0)
    race.step(1, [0.7], size=0)
    (text,) = race.told
    assert text.startswith('trial 2 was trained on from epoch 2')
    assert 'check_objective' in text


def test_a_load_without_a_save() -> None:
    race = Race()
    race.step(0, [1.0], size=0)
    race.step(0, [], failed='StorageError: /r/trial_0/attempt_1/checkpoint.pt: No such file')
    (text,) = race.told
    assert text.startswith('trial 0 could not go on from epoch 1')
    assert 'saved nothing' in text


def test_a_load_at_the_first_call() -> None:
    race = Race()
    race.step(0, [], failed="FileNotFoundError: [Errno 2] No such file or directory: '/r/trial_0/attempt_0/model.pt'")
    race.step(1, [], failed="FileNotFoundError: [Errno 2] No such file or directory: '/data/train.csv'")
    (text,) = race.told
    assert 'load only where previous_epoch > 0' in text


def test_metrics_that_do_not_depend_on_the_epoch() -> None:
    race = Race()
    for trial in range(3):
        race.step(trial, [trial, trial, trial])
        assert len(race.told) == (trial == 2)
    assert 'the same after every epoch' in race.told[0]
    race = Race()
    race.step(0, [3, 2, 1])
    for trial in range(1, 9):
        race.step(trial, [trial, trial, trial])
    assert race.told == [], 'one that varies: a configuration may do nothing'


def test_curves_that_begin_again_at_each_call() -> None:
    race = Race()
    for trial in range(3):
        race.step(trial, [1.0 + trial, 0.5 + trial])
        race.step(trial, [1.0 + trial, 0.5 + trial])
    (text,) = race.told
    assert text.startswith('in 3 calls that were to train on, the metric began again')


@pytest.mark.parametrize('minimize', [True, False])
def test_a_metric_that_moves_the_wrong_way(minimize: bool) -> None:
    race = Race(minimize)
    sign = 1 if minimize else -1
    for trial in range(12):
        race.step(trial, [sign * 0.1, sign * (0.2 if trial != 4 else 0.05)])
        assert len(race.told) == (trial >= 7), 'after eight trials, once'
    assert f'stop and give minimize={not minimize}' in race.told[0]


@pytest.mark.parametrize(
    ('name', 'larger'),
    [
        *((name, True) for name in ('accuracy', 'val_acc', 'valAccuracy', 'test/F1', 'ROC AUC', 'mean-IoU', 'R2')),
        *(
            (name, False)
            for name in ('loss', 'validation loss', 'evalLoss', 'error rate', 'val/RMSE', 'ppl', 'top5 error')
        ),
        *(
            (name, None)
            for name in ('metric', 'score', '1 - accuracy', 'neg_mean_squared_error', '-loss', 'acc loss', '')
        ),
        *((name, None) for name in ('lossless', 'account', 'terror')),
    ],
)
def test_a_name_that_tells_the_direction(name: str, larger: bool | None) -> None:
    assert is_larger_better(name) is larger
    for minimize in (True, False):
        told = list(Advisor().named([name, name], minimize))
        assert len(told) == (larger is minimize)
        for text in told:
            assert f'the metric is {name!r}' in text
            assert f'stop and give minimize={not minimize} (' in text


def test_an_entry_beside_the_metric_that_is_its_name() -> None:
    race = Race(minimize=True)
    race.state.incumbent = Observation(0, 1, 0.5, {'accuracy': 0.5, 'loss': 0.7, 'note': 'x'}, 1, 0.0, 0.0, 0.0)
    race.step(0, [0.5])
    race.step(0, [0.6])
    (text,) = race.told
    assert text.startswith("the metric is 'accuracy', of which larger is usually better, and minimize=True: smaller")
