"""Tune a small transformer of Hugging Face on made-up text, on any device, without a network.

    pip install ".[transformers]"
    python examples/transformers_text.py

Sequences of letters are to be told apart by whether an 'a' comes before the first 'b'. The model is a BERT that starts
from random weights. `Trainer` saves and restores model, optimizer, scheduler and random state by itself; what is ours
to add is a schedule that is as long as the longest training, not as the call at hand.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from ConfigSpace import ConfigurationSpace, Float, Integer
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)

from hpo4dl import Tuner

MAX_EPOCHS = 9
BATCH_SIZE = 32
LENGTH = 12


def search_space() -> ConfigurationSpace:
    return ConfigurationSpace(
        {
            'learning_rate': Float('learning_rate', (1e-5, 1e-1), log=True),
            'layers': Integer('layers', (1, 3)),
            'dropout': Float('dropout', (0.0, 0.5)),
        }
    )


class Letters(Dataset):
    """n random sequences of the letters 1 to 5 (0 is not used), 1: an 'a' (1) comes before the first 'b' (2)."""

    def __init__(self, n: int, seed: int) -> None:
        self.sequences = torch.from_numpy(np.random.default_rng(seed).integers(1, 6, (n, LENGTH)))
        first_a, first_b = ((self.sequences == letter).int().argmax(dim=1) for letter in (1, 2))
        self.labels = (first_a < first_b).long()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {'input_ids': self.sequences[index], 'labels': self.labels[index]}


TRAIN, VALIDATION = Letters(320, seed=0), Letters(400, seed=1)


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    return {'accuracy': float((prediction.predictions.argmax(axis=1) == prediction.label_ids).mean())}


class Curve(TrainerCallback):
    """Collects what the objective function returns."""

    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        self.results.append({'epoch': round(state.epoch), 'metric': metrics['eval_accuracy']})


def objective_function(
    configuration: dict[str, Any], epoch: int, previous_epoch: int, checkpoint_path: str
) -> list[dict[str, Any]]:
    """The metric is the validation accuracy after each epoch."""
    torch.manual_seed(0)
    dropout = configuration['dropout']
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=6,
            hidden_size=32,
            num_hidden_layers=configuration['layers'],
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=LENGTH,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=configuration['learning_rate'])
    # As long as the longest training: the one that Trainer would make ends where this call ends.
    steps = MAX_EPOCHS * len(TRAIN) // BATCH_SIZE
    scheduler = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    curve = Curve()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=checkpoint_path,
            num_train_epochs=epoch,
            per_device_train_batch_size=BATCH_SIZE,
            per_device_eval_batch_size=400,
            eval_strategy='epoch',
            save_strategy='epoch',
            save_total_limit=1,
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
            report_to='none',
            logging_strategy='no',
        ),
        train_dataset=TRAIN,
        eval_dataset=VALIDATION,
        compute_metrics=accuracy,
        optimizers=(optimizer, scheduler),
        callbacks=[curve],
    )
    trainer.remove_callback(PrinterCallback)
    steps_done = previous_epoch * len(TRAIN) // BATCH_SIZE
    last = Path(checkpoint_path) / f'checkpoint-{steps_done}'
    for other in Path(checkpoint_path).glob('checkpoint-*'):
        if other != last:
            shutil.rmtree(other)
    trainer.train(resume_from_checkpoint=os.fspath(last) if previous_epoch > 0 else None)
    return curve.results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--max-budget', type=int, default=40, help='epochs in all; default 40')
    parser.add_argument('--seed', type=int, default=0, help='default 0')
    parser.add_argument('--output-dir', default='hpo4dl_results', help='default hpo4dl_results')
    options = parser.parse_args()
    transformers.logging.disable_progress_bar()
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
