"""The check of an objective function tells good ones from each way of forgetting something."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ConfigSpace import ConfigurationSpace
from torch import nn
from torch.optim import optimizer as hooks
from torch.utils.hooks import RemovableHandle

import hpo4dl
from hpo4dl import check_objective, load_checkpoint, save_checkpoint

SPACE = ConfigurationSpace({'lr': (0.01, 0.1)})
INPUTS = torch.linspace(-1, 1, 40).reshape(20, 2)
TARGETS = INPUTS.prod(dim=1, keepdim=True)


def training(
    *,
    forget: str = '',
    schedule: Callable[[int], int] = lambda epoch: 8,
    seed: int | None = 0,
    optimizer: str = 'sgd',
) -> Callable[..., Any]:
    """An objective function that does everything right, but for what it is told to forget."""

    def objective_function(configuration: dict[str, Any], epoch: int, previous_epoch: int, path: str) -> Any:
        if seed is not None:
            torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
        parameters = model.parameters()
        own = torch.optim.SGD(parameters, lr=configuration['lr'], momentum=0.9)
        if optimizer == 'adamw':
            own = torch.optim.AdamW(model.parameters(), lr=configuration['lr'])
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(own, T_max=schedule(epoch))
        parts = {'model': model, 'optimizer': own, 'scheduler': scheduler}
        if previous_epoch > 0:
            before = torch.get_rng_state()
            load_checkpoint(path, **{name: part for name, part in parts.items() if name != forget})
            if forget == 'averages':
                model[1].reset_running_stats()
            if forget == 'random_state':
                torch.set_rng_state(before)
        results = []
        for i in range(previous_epoch + 1, epoch + 1):
            model.train()
            for batch in torch.randperm(20).split(5):
                own.zero_grad()
                ((model(INPUTS[batch]) - TARGETS[batch]) ** 2).mean().backward()
                own.step()
            scheduler.step()
            with torch.no_grad():
                results.append({'epoch': i, 'metric': ((model.eval()(INPUTS) - TARGETS) ** 2).mean().item()})
        save_checkpoint(path, **parts)
        return results

    return objective_function


@pytest.mark.parametrize('optimizer', ['sgd', 'adamw'])
def test_a_good_one_passes(optimizer: str) -> None:
    check = check_objective(training(optimizer=optimizer), SPACE)
    assert check.ok, str(check)
    assert check.at_once == check.in_two
    assert list(check.at_once) == [1, 2, 3, 4]
    assert check.repeatable
    assert check.seconds_per_epoch > 0
    assert check.checkpoint_bytes > 2 * 8 * 4
    assert [check.weights, check.optimizer, check.scheduler, check.random_state] == [True] * 4


def test_one_that_does_not_seed_but_restores_passes() -> None:
    assert check_objective(training(seed=None), SPACE).ok


@pytest.mark.parametrize(
    ('forget', 'lost'),
    [
        ('model', {'weights'}),
        ('optimizer', {'optimizer', 'scheduler'}),  # the learning rate of the next step is the optimizer's
        ('scheduler', {'scheduler'}),
        ('random_state', {'random_state'}),
    ],
)
def test_what_is_forgotten_is_named(forget: str, lost: set[str]) -> None:
    check = check_objective(training(forget=forget), SPACE)
    parts = ['weights', 'optimizer', 'scheduler', 'random_state']
    assert {part for part in parts if getattr(check, part) is False} == lost, str(check)
    (problem,) = check.problems
    assert all(part.replace('_', ' ') in problem for part in lost)


@pytest.mark.parametrize('forget', ['model', 'optimizer', 'scheduler', 'random_state', 'averages'])
def test_where_no_step_is_seen_the_metrics_tell(forget: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for when in ('pre', 'post'):
        monkeypatch.setattr(hooks, f'register_optimizer_step_{when}_hook', lambda hook: RemovableHandle(OrderedDict()))
    check = check_objective(training(forget=forget), SPACE)
    assert 'does not restore something' in str(check.problems)
    assert check.weights is None


def test_two_optimizers_are_told_apart() -> None:
    """The second one steps less often than the first, and comes back without its state."""

    def adversaries(configuration: dict[str, Any], epoch: int, previous_epoch: int, path: str) -> Any:
        torch.manual_seed(0)
        one, two = nn.Linear(2, 1), nn.Linear(2, 1)
        first = torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9)
        second = torch.optim.SGD(two.parameters(), lr=0.1, momentum=0.9)
        if previous_epoch > 0:
            load_checkpoint(path, one=one, two=two, first=first)
        results = []
        for i in range(previous_epoch + 1, epoch + 1):
            for k, batch in enumerate(torch.randperm(20).split(5)):
                for model, own in ((one, first), (two, second)) if k % 2 else ((one, first),):
                    own.zero_grad()
                    ((model(INPUTS[batch]) - TARGETS[batch]) ** 2).mean().backward()
                    own.step()
            results.append({'epoch': i, 'metric': ((two(INPUTS) - TARGETS) ** 2).mean().item()})
        save_checkpoint(path, one=one, two=two, first=first)
        return results

    check = check_objective(adversaries, SPACE)
    assert check.repeatable
    assert [check.weights, check.optimizer, check.scheduler, check.random_state] == [True, False, True, True]


def test_optimizers_that_are_made_anew_in_every_epoch_are_judged_by_the_metrics() -> None:
    def forgetful(configuration: dict[str, Any], epoch: int, previous_epoch: int, path: str) -> Any:
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        if previous_epoch > 0:
            load_checkpoint(path, model=model)
        results = []
        for i in range(previous_epoch + 1, epoch + 1):
            own = torch.optim.Adam(model.parameters(), lr=0.1)
            for batch in torch.randperm(20).split(5):
                own.zero_grad()
                ((model(INPUTS[batch]) - TARGETS[batch]) ** 2).mean().backward()
                own.step()
            results.append({'epoch': i, 'metric': ((model(INPUTS) - TARGETS) ** 2).mean().item()})
        save_checkpoint(path, model=model)
        return results

    check = check_objective(forgetful, SPACE)
    assert check.ok, str(check)
    assert check.repeatable
    assert check.weights is None


def test_running_averages_are_missed() -> None:
    check = check_objective(training(forget='averages'), SPACE)
    assert 'does not restore something' in str(check.problems)
    assert check.weights in (True, None)


def test_a_schedule_as_long_as_the_call_is_found() -> None:
    check = check_objective(training(schedule=lambda epoch: epoch), SPACE)
    assert not check.repeatable
    assert 'computed from `epoch`' in check.problems[0]


def test_what_cannot_be_repeated_is_no_fault() -> None:
    generator = np.random.default_rng(0)

    def noisy(configuration: dict[str, Any], epoch: int, previous_epoch: int, path: str) -> Any:
        return [{'epoch': i, 'metric': generator.random()} for i in range(previous_epoch + 1, epoch + 1)]

    check = check_objective(noisy, SPACE)
    assert check.ok
    assert check.repeatable is False
    assert 'does not give the same training' in check.notes[0]


def test_a_function_without_torch_is_judged_by_its_metrics() -> None:
    def counting(configuration: dict[str, Any], epoch: int, previous_epoch: int, path: str) -> Any:
        file = Path(path) / 'n'
        n = int(file.read_text()) if previous_epoch else 0
        results = [{'epoch': i, 'metric': n + i} for i in range(previous_epoch + 1, epoch + 1)]
        file.write_text(str(n))
        return results

    check = check_objective(counting, SPACE, epochs=3)
    assert check.ok
    assert check.at_once == {i: float(i) for i in range(1, 7)}
    assert check.checkpoint_bytes == 1
    assert check.weights is None


@pytest.mark.parametrize(
    ('function', 'said'),
    [
        (lambda c, e, p, path: None, 'returned None'),
        (lambda c, e, p, path: {'epoch': e, 'metric': float('nan')}, 'not a finite number'),
        (lambda c, e, p, path: {'epoch': e, 'metric': 1 / (2 - p)}, 'from epoch 2 to 4: ZeroDivisionError'),
        (lambda c, e, p: {}, 'TypeError'),
    ],
)
def test_what_a_call_returns_is_checked(function: Any, said: str) -> None:
    check = check_objective(function, SPACE)
    assert said in check.problems[0]
    assert said in str(check)


def test_metrics_of_the_last_epoch_alone_are_noted() -> None:
    check = check_objective(lambda c, e, p, path: {'epoch': e, 'metric': 0.5}, SPACE)
    assert check.ok
    assert 'only the epochs [2, 4] have a metric' in check.notes[0]


def test_a_metric_that_never_changes_tells_nothing() -> None:
    def constant(configuration: dict[str, Any], epoch: int, previous_epoch: int, path: str) -> Any:
        return [{'epoch': i, 'metric': 0.1} for i in range(previous_epoch + 1, epoch + 1)]

    assert 'so it tells nothing' in check_objective(constant, SPACE).notes[0]


def test_the_callers_random_state_and_folder_are_left_as_they_were(tmp_path: Path) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    check_objective(training(), SPACE, storage_path=tmp_path)
    assert (random.random(), np.random.random(), torch.rand(1)) == expected  # noqa: NPY002
    assert list(tmp_path.iterdir()) == []


def test_the_given_configuration_is_trained() -> None:
    check = check_objective(training(), SPACE, configuration={'lr': 0.02})
    assert check.configuration == {'lr': 0.02}


def test_a_space_may_be_a_dictionary() -> None:
    check = check_objective(training(), {'lr': {'float': [0.001, 0.1], 'default': 0.03}})
    assert check.configuration == {'lr': pytest.approx(0.03)}


@pytest.mark.parametrize(
    'arguments', [{'configuration': {'lr': 5}}, {'epochs': 0}, {'seed': -1}, {'storage_path': '/nowhere'}]
)
def test_wrong_arguments_are_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(hpo4dl.ArgumentError, match=next(iter(arguments))):
        check_objective(training(), SPACE, **arguments)
    with pytest.raises(hpo4dl.ArgumentError, match='objective_function'):
        check_objective(None, SPACE)


def test_the_report_can_be_read() -> None:
    text = str(check_objective(training(), SPACE))
    assert text.startswith('2 + 2 epochs against 4: no problem found\n')
    assert 'an epoch takes' in text
    assert 'epoch 4: metric' in text
