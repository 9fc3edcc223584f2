"""Drive the race from a training script of one's own: ask which network to train on, train it, tell how it went.

    python examples/ask_and_tell.py

For loops that cannot be handed over as a function, such as one that keeps every network in memory, as this one does:
there are no checkpoints, no run's folder and no resume. `Tuner` gives those; take it where it fits.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from ConfigSpace import ConfigurationSpace, Float, Integer
from torch import nn

from hpo4dl import DyHPO

MAX_EPOCHS = 27


def search_space() -> ConfigurationSpace:
    return ConfigurationSpace(
        {
            'learning_rate': Float('learning_rate', (1e-4, 1.0), log=True),
            'width': Integer('width', (2, 64), log=True),
            'layers': Integer('layers', (1, 3)),
        }
    )


def spirals(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 2) points on two arms of a spiral, with noise, and (n, 1) which arm."""
    generator = torch.Generator().manual_seed(seed)
    arm = torch.randint(0, 2, (n, 1), generator=generator).float()
    angle = torch.rand(n, 1, generator=generator) * 6
    turned = angle + torch.pi * arm
    points = torch.cat([turned.cos(), turned.sin()], dim=1) * angle / 6
    return points + 0.03 * torch.randn(n, 2, generator=generator), arm


@dataclass
class Network:
    """What lives in memory as long as its trial races."""

    model: nn.Module
    optimizer: torch.optim.Optimizer


def build(configuration: dict[str, Any]) -> Network:
    widths = [2] + [configuration['width']] * configuration['layers']
    layers = [module for a, b in zip(widths, widths[1:]) for module in (nn.Linear(a, b), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
    return Network(model, torch.optim.Adam(model.parameters(), lr=configuration['learning_rate']))


def train_one_epoch(network: Network, points: torch.Tensor, arms: torch.Tensor) -> None:
    for batch in torch.randperm(len(points)).split(32):
        network.optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network.model(points[batch]), arms[batch]).backward()
        network.optimizer.step()


def loss(network: Network, points: torch.Tensor, arms: torch.Tensor) -> float:
    with torch.no_grad():
        return nn.functional.binary_cross_entropy_with_logits(network.model(points), arms).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--max-budget', type=int, default=100, help='epochs in all; default 100')
    parser.add_argument('--seed', type=int, default=0, help='default 0')
    options = parser.parse_args()
    torch.set_num_threads(1)  # faster for networks as small as these
    torch.manual_seed(options.seed)
    train, validation = spirals(1000, seed=0), spirals(1000, seed=1)

    optimizer = DyHPO(search_space(), max_epochs=MAX_EPOCHS, seed=options.seed, minimize=True)
    networks: dict[int, Network] = {}
    best, spent = (float('inf'), -1), 0
    while spent < options.max_budget:
        trial = optimizer.ask()
        if trial is None:
            break  # every configuration was trained to the end
        if trial.previous_epoch == 0:
            networks[trial.id] = build(trial.configuration)
        network, metrics = networks[trial.id], []
        for _ in range(trial.previous_epoch, trial.epoch):
            train_one_epoch(network, *train)
            metrics.append(loss(network, *validation))
        optimizer.tell(trial, metrics)
        spent += len(metrics)
        if not optimizer.is_alive(trial.id):
            del networks[trial.id]
        if min(metrics) < best[0]:
            best = (min(metrics), trial.id)
            at = f'trial {trial.id}, epoch {trial.epoch}'
            print(f'{spent:3d} epochs: loss {best[0]:.4f}, {at}: {trial.configuration}')
    print(f'{len(optimizer.curves)} configurations raced; trial {best[1]} reached a loss of {best[0]:.4f}')


if __name__ == '__main__':
    main()
