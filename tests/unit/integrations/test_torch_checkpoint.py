"""Checkpoints of PyTorch trainings: what goes on from one is what never stopped."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hpo4dl
from hpo4dl import load_checkpoint, save_checkpoint
from hpo4dl.integrations.torch_checkpoint import NAME, random_state, set_random_state

INPUTS = torch.linspace(-1, 1, 24).reshape(12, 2)
TARGETS = INPUTS.prod(dim=1, keepdim=True)


def build(optimizer: str, scheduler: str) -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
    built = {
        'sgd': lambda: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True),
        'adam': lambda: torch.optim.AdamW(model.parameters(), lr=0.01, amsgrad=True),
        'lbfgs': lambda: torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2),
    }[optimizer]()
    scheduled = {
        'cosine': lambda: torch.optim.lr_scheduler.CosineAnnealingLR(built, T_max=6),
        'step': lambda: torch.optim.lr_scheduler.MultiStepLR(built, milestones=[2, 4]),  # holds a Counter
        'plateau': lambda: torch.optim.lr_scheduler.ReduceLROnPlateau(built, patience=0),
        'lambda': lambda: torch.optim.lr_scheduler.LambdaLR(built, lambda epoch: 0.9**epoch),
    }[scheduler]()
    generator = torch.Generator()
    generator.manual_seed(5)
    return {'model': model, 'optimizer': built, 'scheduler': scheduled, 'generator': generator, 'scaler': None}


def train(folder: Path, epoch: int, previous_epoch: int, optimizer: str, scheduler: str) -> list[float]:
    """Draws from every source of randomness that is saved."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    parts = build(optimizer, scheduler)
    if previous_epoch > 0:
        assert load_checkpoint(folder, **parts) == {'last': previous_epoch}
    losses = []
    for i in range(previous_epoch + 1, epoch + 1):
        for batch in torch.randperm(12, generator=parts['generator']).split(4):
            noise = random.gauss(0, 0.1) + np.random.normal(0, 0.1)  # noqa: NPY002

            def loss(batch: torch.Tensor = batch, noise: float = noise) -> torch.Tensor:
                parts['optimizer'].zero_grad()
                value = ((parts['model'](INPUTS[batch] + noise) - TARGETS[batch]) ** 2).mean()
                value.backward()
                return value

            losses.append(parts['optimizer'].step(loss).item())
        parts['scheduler'].step(*([losses[-1]] if scheduler == 'plateau' else []))
        save_checkpoint(folder, **parts, last=np.int64(i))
    return losses


@pytest.mark.parametrize(
    ('optimizer', 'scheduler'),
    [('sgd', 'cosine'), ('adam', 'step'), ('lbfgs', 'lambda'), ('sgd', 'plateau')],
)
def test_three_epochs_and_three_more_are_six(tmp_path: Path, optimizer: str, scheduler: str) -> None:
    at_once, in_two = tmp_path / 'at_once', tmp_path / 'in_two'
    at_once.mkdir()
    in_two.mkdir()
    expected = train(at_once, 6, 0, optimizer, scheduler)
    first = train(in_two, 3, 0, optimizer, scheduler)
    assert first + train(in_two, 6, 3, optimizer, scheduler) == expected
    models = [torch.load(folder / NAME, weights_only=True)['parts']['model'] for folder in (at_once, in_two)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


@pytest.mark.parametrize(
    'draw',
    [random.random, lambda: random.gauss(0, 1), np.random.random, np.random.standard_normal, lambda: torch.rand(1)],
)
def test_every_random_state_comes_back(draw: Any) -> None:
    draw()  # of two Gaussian numbers that are drawn at once, one is left over: it is part of the state
    state = random_state()
    expected = [draw() for _ in range(5)]
    set_random_state(state)
    assert [draw() for _ in range(5)] == expected


@pytest.mark.skipif(not hasattr(getattr(torch, 'amp', None), 'GradScaler'), reason='torch before 2.3')
def test_a_scaler_comes_back(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler('cpu', init_scale=8.0, growth_interval=3)
    for factor in (1.0, 1.0, float('inf'), 1.0):  # an overflow halves the scale, and counting begins anew
        optimizer.zero_grad()
        scaler.scale(model(INPUTS).mean() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
    save_checkpoint(tmp_path, scaler=scaler)
    other = torch.amp.GradScaler('cpu')
    load_checkpoint(tmp_path, scaler=other)
    assert other.state_dict() == scaler.state_dict()
    assert other.state_dict()['scale'] == 4.0
    assert other.state_dict()['_growth_tracker'] == 1


def test_plain_values_are_returned(tmp_path: Path) -> None:
    saved = {'best': np.float64(0.5), 'names': ['a', ('b', 1)], 'at': {3: None}, 'weights': torch.eye(2)}
    save_checkpoint(tmp_path, model=nn.Linear(1, 1), nothing=None, **saved)
    loaded = load_checkpoint(tmp_path, model=None, nothing=None)
    assert torch.equal(loaded.pop('weights'), torch.eye(2))
    assert loaded == {'best': 0.5, 'names': ['a', ('b', 1)], 'at': {3: None}}
    assert type(loaded['best']) is float


def test_a_part_may_be_restored_alone(tmp_path: Path) -> None:
    model, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    model(torch.rand(4, 3))
    save_checkpoint(tmp_path, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    load_checkpoint(tmp_path, model=other)
    assert torch.equal(other.running_mean, model.running_mean)


@pytest.mark.parametrize(
    'value', [object(), np.zeros(3), {1, 2}, {'deep': [Path('x')]}], ids=['object', 'array', 'set', 'path']
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path, value: object) -> None:
    with pytest.raises(hpo4dl.ArgumentError, match=r'^extra'):
        save_checkpoint(tmp_path, extra=value)
    assert list(tmp_path.iterdir()) == []


def test_errors_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(hpo4dl.StorageError, match=NAME):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, model=nn.Linear(1, 1), step=3)
    with pytest.raises(hpo4dl.ArgumentError, match='holds: model, step'):
        load_checkpoint(tmp_path, optimizer=torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))
    with pytest.raises(hpo4dl.ArgumentError, match='load_state_dict'):
        load_checkpoint(tmp_path, step=4)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / 'ran'),)

    torch.save({'parts': {'model': Evil()}, 'random_state': {}}, tmp_path / NAME)
    with pytest.raises(hpo4dl.StorageError, match=NAME):
        load_checkpoint(tmp_path)
    assert not (tmp_path / 'ran').exists()


def test_a_failed_save_leaves_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, step=1)

    def half(content: object, file: Any) -> None:
        file.write(b'half a checkpoint')
        raise OSError('No space left on device')

    monkeypatch.setattr(torch, 'save', half)
    with pytest.raises(hpo4dl.StorageError, match='No space left'):
        save_checkpoint(tmp_path, step=2)
    assert load_checkpoint(tmp_path) == {'step': 1}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
