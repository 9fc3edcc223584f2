"""Tune a small network on scikit-learn's handwritten digits, and compare with random search at the same budget.

    python examples/digits.py

800 images train, 400 choose among configurations and epochs (validation), 597 are looked at once, by the incumbent
(test). All that a run knows of a trial lies in its checkpoint, so three epochs and three more are the same as six.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, Integer
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from hpo4dl import Tuner

BATCH_SIZE = 64
CHECKPOINT = 'checkpoint.pt'


def search_space() -> ConfigurationSpace:
    """Seven hyperparameters in ranges that somebody who knows nothing of the data would give."""
    optimizer = Categorical('optimizer', ['sgd', 'adam', 'rmsprop'])
    momentum = Float('momentum', (0.0, 0.99))
    space = ConfigurationSpace(
        {
            'learning_rate': Float('learning_rate', (1e-5, 1.0), log=True),
            'weight_decay': Float('weight_decay', (1e-6, 1e-1), log=True),
            'width': Integer('width', (4, 256), log=True),
            'num_layers': Integer('num_layers', (1, 3)),
            'dropout': Float('dropout', (0.0, 0.7)),
            'optimizer': optimizer,
            'momentum': momentum,
        }
    )
    space.add(EqualsCondition(momentum, optimizer, 'sgd'))
    return space


def load_data() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Images (n, 64) in [0, 1] and labels (n,) of the three splits: the same ones always, classes in proportion."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype('float32')
    rest, test, rest_labels, test_labels = train_test_split(
        images, labels, test_size=597, stratify=labels, random_state=0
    )
    train, validation, train_labels, validation_labels = train_test_split(
        rest, rest_labels, test_size=400, stratify=rest_labels, random_state=0
    )
    return {
        'train': (torch.from_numpy(train), torch.from_numpy(train_labels)),
        'validation': (torch.from_numpy(validation), torch.from_numpy(validation_labels)),
        'test': (torch.from_numpy(test), torch.from_numpy(test_labels)),
    }


DATA = load_data()


def build_model(configuration: dict[str, Any]) -> nn.Sequential:
    """Fully connected: 64 pixels, `num_layers` hidden layers of `width` units, 10 classes."""
    layers: list[nn.Module] = []
    inputs = 64
    for _ in range(configuration['num_layers']):
        layers += [nn.Linear(inputs, configuration['width']), nn.ReLU(), nn.Dropout(configuration['dropout'])]
        inputs = configuration['width']
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


def build_optimizer(configuration: dict[str, Any], model: nn.Module) -> torch.optim.Optimizer:
    """`momentum` is in the configuration where `optimizer` is 'sgd', and nowhere else."""
    settings = {'lr': configuration['learning_rate'], 'weight_decay': configuration['weight_decay']}
    if configuration['optimizer'] == 'sgd':
        return torch.optim.SGD(model.parameters(), momentum=configuration['momentum'], **settings)
    if configuration['optimizer'] == 'adam':
        return torch.optim.Adam(model.parameters(), **settings)
    return torch.optim.RMSprop(model.parameters(), **settings)


def train_one_epoch(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Once through the training images, in a random order."""
    images, labels = DATA['train']
    model.train()
    for batch in torch.randperm(len(images)).split(BATCH_SIZE):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()


def accuracy(model: nn.Module, split: str) -> float:
    """The fraction of a split's images that the model names rightly."""
    images, labels = DATA[split]
    model.eval()
    with torch.no_grad():
        return (model(images).argmax(dim=1) == labels).double().mean().item()


def objective_function(
    configuration: dict[str, Any], epoch: int, previous_epoch: int, checkpoint_path: str
) -> list[dict[str, Any]]:
    """Train on from `previous_epoch` to `epoch`; the metric is the validation accuracy after each epoch."""
    checkpoint = Path(checkpoint_path) / CHECKPOINT
    torch.manual_seed(0)
    model = build_model(configuration)
    optimizer = build_optimizer(configuration, model)
    if previous_epoch > 0:
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state['model'])
        optimizer.load_state_dict(state['optimizer'])
        torch.set_rng_state(state['rng'])

    results = []
    for i in range(previous_epoch + 1, epoch + 1):
        train_one_epoch(model, optimizer)
        results.append({'epoch': i, 'metric': accuracy(model, 'validation')})

    state = {'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'rng': torch.get_rng_state()}
    torch.save(state, checkpoint.with_suffix('.new'))
    os.replace(checkpoint.with_suffix('.new'), checkpoint)  # a kill leaves the old checkpoint or the new, never half
    return results


def tune(optimizer: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run; returns its incumbent, with the accuracy of the model in `best_trial/` on the test images."""
    tuner = Tuner(
        objective_function=objective_function,
        configuration_space=search_space(),
        optimizer=optimizer,
        minimize=False,
        max_epochs=options.max_epochs,
        max_budget=options.max_budget,
        seed=seed,
        output_path=options.output_dir / f'{optimizer}_seed{seed}',
        quiet=True,  # ten races, each a line below
    )
    begin = time.perf_counter()
    incumbent = tuner.run()
    seconds = time.perf_counter() - begin

    model = build_model(incumbent['configuration'])
    model.load_state_dict(torch.load(tuner.run_folder / 'best_trial' / CHECKPOINT, weights_only=True)['model'])
    incumbent['test'] = accuracy(model, 'test')
    print(
        f'seed {seed}, {optimizer:>9}: {tuner.epochs_spent} epochs in {seconds:.0f} s, '
        f'validation accuracy {incumbent["metric"]:.3f}, test accuracy {incumbent["test"]:.3f}',
        flush=True,
    )
    return incumbent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--optimizer', default='dyhpo', help='compared with random search; default dyhpo')
    parser.add_argument('--max-budget', type=int, default=120, help='epochs in all of one run; default 120')
    parser.add_argument('--max-epochs', type=int, default=20, help='epochs of one configuration at most; default 20')
    parser.add_argument('--seed', type=int, default=0, help='the first seed; default 0')
    parser.add_argument('--seeds', type=int, default=5, help='how many seeds to compare over; default 5')
    parser.add_argument('--output-dir', type=Path, default=Path('hpo4dl_results'), help='default hpo4dl_results')
    options = parser.parse_args()
    torch.set_num_threads(1)  # faster for a network as small as this

    found: dict[str, list[dict[str, Any]]] = {options.optimizer: [], 'random': []}
    for seed in range(options.seed, options.seed + options.seeds):
        for optimizer, incumbents in found.items():
            incumbents.append(tune(optimizer, seed, options))

    incumbent = max(found[options.optimizer], key=lambda incumbent: incumbent['metric'])
    print(f'\nThe incumbent, best of {options.seeds} on the validation images ({incumbent["metric"]:.3f}):')
    for name, value in incumbent['configuration'].items():
        print(f'  {name:<13} {value:.4g}' if isinstance(value, float) else f'  {name:<13} {value}')
    print(f'Its accuracy on the test images: {incumbent["test"]:.3f}')
    race = options.output_dir / f'{options.optimizer}_seed{options.seed}'
    print(f'\nPictures of the first race (with matplotlib): hpo4dl plot {shlex.quote(str(race))} -o race.png')
    print(f'\nTest accuracy after {options.max_budget} epochs, mean of {options.seeds} seeds:')
    for optimizer, incumbents in found.items():
        print(f'  {optimizer:<13} {statistics.mean(i["test"] for i in incumbents):.3f}')


if __name__ == '__main__':
    main()
