"""Tune a Lightning module on scikit-learn's handwritten digits, on any device, without a network.

    pip install ".[lightning]"
    python examples/lightning_digits.py

Lightning saves and restores model, optimizer, scheduler and its own counters. Two things are ours to add: the random
state (`RandomState`), and a schedule that is as long as the longest training, not as the call at hand.
"""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from ConfigSpace import ConfigurationSpace, Float, Integer
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from hpo4dl import Tuner
from hpo4dl.integrations.torch_checkpoint import random_state, set_random_state

MAX_EPOCHS = 9
CHECKPOINT = 'lightning.ckpt'


def search_space() -> ConfigurationSpace:
    return ConfigurationSpace(
        {
            'learning_rate': Float('learning_rate', (1e-4, 1.0), log=True),
            'width': Integer('width', (8, 128), log=True),
            'dropout': Float('dropout', (0.0, 0.5)),
        }
    )


class Digits(LightningModule):
    """Fully connected: 64 pixels, one hidden layer, 10 classes."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        super().__init__()
        self.configuration = configuration
        width, dropout = configuration['width'], configuration['dropout']
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        right = self.layers(batch[0]).argmax(dim=1) == batch[1]
        self.log('accuracy', right.float().mean(), on_epoch=True, batch_size=len(right))

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.configuration['learning_rate'], momentum=0.9)
        # As long as the longest training: `self.trainer.max_epochs` is only where this call ends.
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, MAX_EPOCHS)
        return {'optimizer': optimizer, 'lr_scheduler': scheduler}


class RandomState(Callback):
    """Saves the random state with the checkpoint, and restores it before the order of the images is drawn."""

    def state_dict(self) -> dict[str, Any]:
        return random_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        set_random_state(state)


class Curve(Callback):
    """Collects what the objective function returns."""

    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        metric = trainer.callback_metrics['accuracy'].item()
        self.results.append({'epoch': trainer.current_epoch + 1, 'metric': metric})


def load_data() -> tuple[TensorDataset, TensorDataset]:
    """Training and validation images, always the same ones."""
    images, labels = load_digits(return_X_y=True)
    dataset = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
    train, validation = random_split(dataset, [1400, 397], generator=torch.Generator().manual_seed(0))
    return train, validation


TRAIN, VALIDATION = load_data()


def objective_function(
    configuration: dict[str, Any], epoch: int, previous_epoch: int, checkpoint_path: str
) -> list[dict[str, Any]]:
    """The metric is the validation accuracy after each epoch."""
    torch.manual_seed(0)
    curve = Curve()
    trainer = Trainer(
        max_epochs=epoch,
        accelerator='cpu',
        callbacks=[curve, RandomState()],
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    checkpoint = Path(checkpoint_path) / CHECKPOINT
    trainer.fit(
        Digits(configuration),
        DataLoader(TRAIN, batch_size=64, shuffle=True),
        DataLoader(VALIDATION, batch_size=397),
        ckpt_path=checkpoint if previous_epoch > 0 else None,
    )
    new = checkpoint.with_suffix('.new')
    trainer.save_checkpoint(new)
    os.replace(new, checkpoint)  # a kill leaves the old checkpoint or the new, never half
    return curve.results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--max-budget', type=int, default=40, help='epochs in all; default 40')
    parser.add_argument('--seed', type=int, default=0, help='default 0')
    parser.add_argument('--output-dir', default='hpo4dl_results', help='default hpo4dl_results')
    options = parser.parse_args()
    logging.getLogger('lightning.pytorch').setLevel(logging.ERROR)  # it tells at every call which devices it found
    warnings.filterwarnings('ignore', message='.*does not have many workers')
    torch.set_num_threads(1)  # faster for a network as small as this

    tuner = Tuner(
        objective_function=objective_function,
        configuration_space=search_space(),
        max_epochs=MAX_EPOCHS,
        max_budget=options.max_budget,
        seed=options.seed,
        output_path=options.output_dir,
    )
    incumbent = tuner.run()
    print(f'validation accuracy {incumbent["metric"]:.3f} after {incumbent["epoch"]} epochs')
    for name, value in incumbent['configuration'].items():
        print(f'  {name:<13} {value:.4g}')


if __name__ == '__main__':
    main()
