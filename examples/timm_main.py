"""Tune an image classifier: any timm model, on torchvision's data sets or a folder of images.

    pip install ".[timm]"
    python examples/timm_main.py --dataset torch/cifar100 --train-split train --val-split validation \\
        --optimizer dyhpo --output-dir ./hpo4dl_results

Learning rate, weight decay, architecture, optimizer, momentum (for SGD alone) and the strength of RandAugment are
tuned for the accuracy on the validation images. The test images are looked at once: at the end, by the incumbent.

`--dataset torch/NAME` is read from `--data-dir`, and downloaded if it is not there; of its training images some are put
aside for validation, and its held-out images are the test set. `--dataset folder` reads `--data-dir`/SPLIT/CLASS/IMAGE;
where there is no folder for the validation split, it is put aside from the training images too.

Ctrl-C, or a scheduler's SIGTERM, stops cleanly; `--resume RUN` goes on, with the options that the run was started with.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, Integer
from timm.data import create_dataset, create_transform
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import random_seed
from torch import nn
from torch.utils.data import DataLoader, Dataset

from hpo4dl import Tuner, load_checkpoint, save_checkpoint

MODELS = ['resnet18', 'mobilenetv3_small_100', 'convnext_atto']
MAY_CHANGE = {'resume', 'output_dir', 'max_budget', 'data_dir', 'download', 'workers', 'device', 'num_workers'}
"""Options that may differ when a run is resumed: they change nothing of what is trained."""


def search_space(models: list[str]) -> ConfigurationSpace:
    """What is tuned. The default of each hyperparameter is a good guess; timm's own names are used."""
    optimizer = Categorical('opt', ['sgd', 'adamw'])
    momentum = Float('momentum', (0.5, 0.99), default=0.9)
    space = ConfigurationSpace(
        {
            'lr': Float('lr', (1e-4, 1.0), log=True),
            'weight_decay': Float('weight_decay', (1e-6, 1e-1), log=True),
            'model': Categorical('model', models),
            'opt': optimizer,
            'momentum': momentum,
            'rand_augment': Integer('rand_augment', (0, 10), default=0),
        }
    )
    space.add(EqualsCondition(momentum, optimizer, 'sgd'))
    return space


class Images(Dataset):
    """The images of a data set with these indices, transformed. (image (3, size, size), label)"""

    def __init__(self, dataset: Dataset, indices: list[int], transform: Any) -> None:
        self.dataset, self.indices, self.transform = dataset, indices, transform

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.dataset[self.indices[index]]
        return self.transform(image.convert('RGB')), label


def leave_signals_to_the_tuner(worker: int) -> None:
    """In a process that loads images: Ctrl-C and schedulers send their signals to it too, but this call is to end.

    SIGTERM stays as torch has it, whose loader ends so what does not end by itself, and waits for it. A scheduler's
    SIGTERM may therefore cost the call that runs, which the tuner makes again when the run goes on.
    """
    for name in ('SIGINT', 'SIGUSR1'):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


@dataclass
class Data:
    """The three splits, as the options say; nothing is read before it is asked for, the test images last."""

    options: argparse.Namespace

    @cached_property
    def train_and_validation(self) -> tuple[Dataset, list[int], Dataset, list[int]]:
        """Training images and their indices, validation images and theirs. The same seed puts the same ones aside."""
        options = self.options
        train = self._open(options.train_split)
        generator = torch.Generator().manual_seed(options.seed)
        indices = torch.randperm(len(train), generator=generator).tolist()
        if self.has_folder(options.val_split):
            validation = self._open(options.val_split, train)
            held_out = torch.randperm(len(validation), generator=generator).tolist()
        else:
            size = max(1, round(options.val_fraction * len(indices)))
            validation, held_out, indices = train, indices[:size], indices[size:]
        if options.subset is not None:
            indices, held_out = indices[: options.subset], held_out[: max(1, options.subset // 2)]
        return train, indices, validation, held_out

    @cached_property
    def test(self) -> Dataset | None:
        """The test images; None where there are none."""
        if self.options.dataset != 'folder':
            return self._open('validation')  # timm's name for all that is not for training
        train = self.train_and_validation[0]
        return self._open(self.options.test_split, train) if self.has_folder(self.options.test_split) else None

    @cached_property
    def num_classes(self) -> int:
        train = self.train_and_validation[0]
        return len(train.classes if hasattr(train, 'classes') else train.reader.class_to_idx)

    def loader(self, split: str, configuration: dict[str, Any], training: bool = False) -> DataLoader:
        """Batches of (images, labels) of 'train', 'validation' or 'test'."""
        if split == 'test':
            dataset, indices = self.test, list(range(len(self.test)))
        else:
            train, train_indices, validation, validation_indices = self.train_and_validation
            dataset, indices = (train, train_indices) if split == 'train' else (validation, validation_indices)
        options, magnitude = self.options, configuration['rand_augment']
        transform = create_transform(
            options.img_size,
            is_training=training,
            scale=(0.5, 1.0),
            color_jitter=0.0,
            auto_augment=f'rand-m{magnitude}-mstd0.5-inc1' if training and magnitude > 0 else None,
            crop_pct=1.0,
        )
        return DataLoader(
            Images(dataset, indices, transform),
            batch_size=options.batch_size,
            shuffle=training,
            num_workers=options.workers,
            pin_memory=options.device.startswith('cuda'),
            drop_last=training and len(indices) > options.batch_size,
            # The workers are new in every epoch: they take their seeds from the random state that is restored.
            persistent_workers=False,
            worker_init_fn=leave_signals_to_the_tuner,
        )

    def has_folder(self, split: str) -> bool:
        """Whether the split is a folder of images of its own."""
        options = self.options
        return options.dataset == 'folder' and os.path.isdir(os.path.join(options.data_dir, split))

    def describe(self) -> str:
        """Where the splits come from and how large they are, in a line; the test images are not opened."""
        _, train, _, validation = self.train_and_validation
        options = self.options
        source = 'its own folder' if self.has_folder(options.val_split) else f'put aside from {options.train_split}'
        return f'{len(train)} images to train with, {len(validation)} for validation ({source})'

    def _open(self, split: str, like: Dataset | None = None) -> Dataset:
        """A split as timm opens it; the classes of folders are numbered as in the data set `like`."""
        options = self.options
        if options.dataset != 'folder':
            return create_dataset(options.dataset, options.data_dir, split, download=options.download)
        folder = os.path.join(options.data_dir, split)
        if not os.path.isdir(folder):
            raise FileNotFoundError(f'there is no folder {split}')
        classes = None if like is None else like.reader.class_to_idx
        return create_dataset('', folder, search_split=False, class_map=classes)


class Objective:
    """Trains a configuration; the metric is the accuracy on the validation images. Can be sent to other processes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.data = Data(options)

    def __getstate__(self) -> dict[str, Any]:
        return {'options': self.options, 'data': Data(self.options)}  # without the images

    def __call__(
        self, configuration: dict[str, Any], epoch: int, previous_epoch: int, checkpoint_path: str
    ) -> list[dict[str, Any]]:
        options = self.options
        random_seed(options.seed)
        model = self.build(configuration)
        optimizer = create_optimizer_v2(
            model,
            opt=configuration['opt'],
            lr=configuration['lr'],
            weight_decay=configuration['weight_decay'],
            **{name: configuration[name] for name in ['momentum'] if name in configuration},
        )
        # As long as the longest training, not as this call: it must be the same one when the trial goes on.
        scheduler, _ = create_scheduler_v2(optimizer, 'cosine', num_epochs=options.max_epochs)
        scaler = torch.amp.GradScaler(torch.device(options.device).type, enabled=options.amp)
        parts = {'model': model, 'optimizer': optimizer, 'scheduler': scheduler, 'scaler': scaler}
        train = self.data.loader('train', configuration, training=True)
        validation = self.data.loader('validation', configuration)
        if previous_epoch > 0:
            load_checkpoint(checkpoint_path, **parts)
        results = []
        for i in range(previous_epoch + 1, epoch + 1):
            loss = self.train_one_epoch(model, optimizer, scaler, train)
            scheduler.step(i)
            metric = self.accuracy(model, validation) if math.isfinite(loss) else math.nan  # NaN: the trial failed
            results.append({'epoch': i, 'metric': metric, 'train_loss': loss})
            if math.isnan(metric):
                break
        save_checkpoint(checkpoint_path, **parts)
        return results

    def build(self, configuration: dict[str, Any]) -> nn.Module:
        """The network with fresh weights, on the device."""
        model = timm.create_model(configuration['model'], num_classes=self.data.num_classes)
        if self.options.device.startswith('cuda'):
            model = model.to(memory_format=torch.channels_last)
        return model.to(self.options.device)

    def train_one_epoch(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, loader: DataLoader
    ) -> float:
        """Once through the training images; returns the mean loss of a batch."""
        model.train()
        total = torch.zeros((), device=self.options.device)
        for images, labels in loader:
            optimizer.zero_grad()
            with self.autocast():
                loss = nn.functional.cross_entropy(model(self.moved(images)), self.moved(labels))
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            total += loss.detach()
        return total.item() / len(loader)

    @torch.no_grad()
    def accuracy(self, model: nn.Module, loader: DataLoader) -> float:
        """The fraction of the images that the model names rightly."""
        model.eval()
        right = torch.zeros((), dtype=torch.int64, device=self.options.device)
        for images, labels in loader:
            with self.autocast():
                right += (model(self.moved(images)).argmax(dim=1) == self.moved(labels)).sum()
        return right.item() / len(loader.dataset)

    def moved(self, tensor: torch.Tensor) -> torch.Tensor:
        """On the device; images in the order of memory that CUDA is fastest with."""
        if tensor.dim() == 4 and self.options.device.startswith('cuda'):
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor.to(self.options.device, non_blocking=True)

    def autocast(self) -> Any:
        """Mixed precision, where asked for."""
        return torch.autocast(torch.device(self.options.device).type) if self.options.amp else nullcontext()


def test_accuracy(objective: Objective, incumbent: dict[str, Any], run_folder: Path) -> float | None:
    """The incumbent's accuracy on the test images, computed once and kept in the run's folder; None: no test images."""
    file = run_folder / 'test.json'
    name = {'configuration_id': incumbent['configuration_id'], 'epoch': incumbent['epoch']}
    if file.exists():
        known = json.loads(file.read_text(encoding='utf-8'))
        if name.items() <= known.items():
            return known['test_accuracy']
    if objective.data.test is None:
        return None
    configuration = incumbent['configuration']
    model = objective.build(configuration)
    load_checkpoint(run_folder / 'best_trial', model=model)
    accuracy = objective.accuracy(model, objective.data.loader('test', configuration))
    file.write_text(json.dumps({**name, 'test_accuracy': accuracy}), encoding='utf-8')
    return accuracy


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; on `--resume`, those of the run unless they are given again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--dataset', default='torch/cifar10', help='torch/cifar10 (the default), torch/fashion_mnist, ..., or folder')
    add('--data-dir', default='data', help='where the images lie; default data')
    add('--download', action=argparse.BooleanOptionalAction, default=True, help='let torchvision fetch what is missing')
    add('--train-split', default='train', help='default train')
    add('--val-split', default='validation', help='default validation')
    add('--test-split', default='test', help='of a folder of images; default test')
    add('--val-fraction', type=float, default=0.1, help='of the training images, where validation has none of its own')
    add('--subset', type=int, help='train with that many images, validate with half as many; default all')
    add('--model', nargs='+', default=MODELS, help='timm architectures to choose from; default ' + ' '.join(MODELS))
    add('--img-size', type=int, default=32, help='pixels that images are scaled to; default 32')
    add('--batch-size', type=int, default=128, help='default 128')
    add('--workers', type=int, default=2, help='processes that load images; default 2')
    add('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='default cuda where there is one')
    add('--amp', action='store_true', help='mixed precision')
    add('--optimizer', default='dyhpo', help='dyhpo, hyperband, asha or random; default dyhpo')
    add('--max-epochs', type=int, default=27, help='epochs of one configuration at most; default 27')
    add('--max-budget', type=int, default=1000, help='epochs in all; default 1000')
    add('--num-config', type=int, default=1000, help='candidates that dyhpo weighs at each step; default 1000')
    add('--num-workers', type=int, default=1, help='configurations trained at the same time; default 1')
    add('--seed', type=int, default=42, help='of the search, of the split and of the training; default 42')
    add('--output-dir', default='./hpo4dl_results', help='default ./hpo4dl_results')
    add('--storage-dir', help="where checkpoints lie; default in the run's folder")
    add('--resume', metavar='RUN', help="go on with the run in this folder; 'last': the newest one in --output-dir")
    options = parser.parse_args(arguments)
    if options.resume is None:
        options.data_dir = os.path.abspath(options.data_dir)
        return options
    if options.resume == 'last':
        runs = sorted(Path(options.output_dir).glob('*/arguments.json'), key=os.path.getmtime)
        if not runs:
            parser.error(f'--resume last: there is no run in {options.output_dir}')
        options.resume = str(runs[-1].parent)
    try:
        stored = json.loads((Path(options.resume) / 'arguments.json').read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        parser.error(f'--resume: {error}')
    parser.set_defaults(**stored)
    resumed = parser.parse_args(arguments)
    for name, value in stored.items():
        if name not in MAY_CHANGE and getattr(resumed, name) != value:
            parser.error(f'--{name.replace("_", "-")}: the run was started with {value}')
    resumed.resume = options.resume
    return resumed


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    objective = Objective(options)
    try:
        print(f'{options.dataset}: {objective.data.describe()}', flush=True)
    except (AssertionError, OSError, RuntimeError) as error:  # what timm and torchvision raise of a missing data set
        raise SystemExit(f'--dataset {options.dataset}, --data-dir {options.data_dir}: {error}') from error
    if options.resume is not None:
        tuner = Tuner.resume(options.resume, objective, max_budget=options.max_budget)
    else:
        tuner = Tuner(
            objective_function=objective,
            configuration_space=search_space(options.model),
            minimize=False,
            max_budget=options.max_budget,
            optimizer=options.optimizer,
            seed=options.seed,
            max_epochs=options.max_epochs,
            num_configurations=options.num_config,
            output_path=options.output_dir,
            storage_path=options.storage_dir and os.path.expanduser(options.storage_dir),
            **({'num_workers': options.num_workers} if options.num_workers > 1 else {}),
        )
        with open(tuner.run_folder / 'arguments.json', 'w', encoding='utf-8') as file:
            json.dump({name: value for name, value in vars(options).items() if name != 'resume'}, file, indent=2)

    incumbent = tuner.run()
    print(f'{tuner.run_folder}: {tuner.epochs_spent} epochs; {tuner.stopped}')
    print(f'The incumbent, validation accuracy {incumbent["metric"]:.4f} after {incumbent["epoch"]} epochs:')
    for name, value in incumbent['configuration'].items():
        print(f'  {name:<13} {value:.4g}' if isinstance(value, float) else f'  {name:<13} {value}')
    if str(tuner.stopped).startswith('SIG'):
        print(f'Interrupted. Go on with: python examples/timm_main.py --resume {tuner.run_folder}')
    else:
        accuracy = test_accuracy(objective, incumbent, tuner.run_folder)
        print('There are no test images.' if accuracy is None else f'Its accuracy on the test images: {accuracy:.4f}')
    return incumbent


if __name__ == '__main__':
    main()
