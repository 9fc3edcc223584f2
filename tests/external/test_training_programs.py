"""Programs of other frameworks and languages, raced as typed in docs/shell.md: paused and resumed, and none failed.

Each is skipped where its package or language is missing. `tox -e programs` installs all but R.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpo4dl.analysis.run import Run, read_run

ROOT = Path(__file__).parents[2]

HYDRA = """
import logging, pathlib
import hydra
from dataclasses import dataclass, field
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING
from typing import Any

@dataclass
class Sgd:
    name: str = 'sgd'
    lr: float = 0.1
    momentum: float = 0.9

@dataclass
class Adam:
    name: str = 'adam'
    lr: float = 0.001

@dataclass
class Config:
    defaults: list = field(default_factory=lambda: [{'optimizer': 'sgd'}, '_self_'])
    optimizer: Any = MISSING
    epochs: int = 1
    folder: str = '.'

store = ConfigStore.instance()
store.store(name='config', node=Config)
store.store(group='optimizer', name='sgd', node=Sgd)
store.store(group='optimizer', name='adam', node=Adam)

@hydra.main(version_base=None, config_name='config')
def main(config):
    file = pathlib.Path(config.folder, 'epoch')
    first = int(file.read_text()) if file.exists() else 0
    for epoch in range(first + 1, config.epochs + 1):
        loss = abs(config.optimizer.lr - 0.01) + 1 / epoch
        logging.info(f'epoch={epoch} loss={loss}')
        file.write_text(str(epoch))

main()
"""
TORCHRUN = """
import os, sys, pathlib
import torch
from hpo4dl import report_epoch

torch.distributed.init_process_group('gloo')
rank = torch.distributed.get_rank()
lr, epochs, folder = float(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
weight, first = torch.zeros(1), 0
if (folder / 'state').exists():
    weight, first = torch.load(folder / 'state', weights_only=True)
torch.distributed.barrier()
for epoch in range(first + 1, epochs + 1):
    gradient = 2 * (weight - rank)  # the optimum is between the two ranks
    torch.distributed.all_reduce(gradient)
    weight = weight - lr * gradient
    if rank == 0:
        torch.save((weight, epoch), folder / 'state')
    report_epoch(epoch, (weight - 0.5) ** 2, processes=torch.distributed.get_world_size())
torch.distributed.destroy_process_group()
"""
LIGHTNING = """
import lightning, torch
from hpo4dl import report_epoch
from lightning.pytorch.cli import LightningCLI

class Module(lightning.LightningModule):
    def __init__(self, lr: float = 0.1, momentum: float = 0.0):
        super().__init__()
        self.lr, self.momentum, self.layer = lr, momentum, torch.nn.Linear(4, 1)

    def training_step(self, batch, _):
        return ((self.layer(batch) - batch.sum(1, keepdim=True)) ** 2).mean()

    def validation_step(self, batch, _):
        self.log('loss', ((self.layer(batch) - batch.sum(1, keepdim=True)) ** 2).mean())

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            report_epoch(self.current_epoch + 1, self.trainer.callback_metrics['loss'])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr, self.momentum)

class Data(lightning.LightningDataModule):
    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.eye(4), 2)

    val_dataloader = train_dataloader

LightningCLI(Module, Data)
"""
TRANSFORMERS = """
import torch
from transformers import BertConfig, BertForSequenceClassification, HfArgumentParser, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

(arguments,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
config = BertConfig(vocab_size=64, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
data = [{'input_ids': torch.tensor([i, 1, 2]), 'labels': i % 2} for i in range(8)]
trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=data, eval_dataset=data)
trainer.train(resume_from_checkpoint=get_last_checkpoint(arguments.output_dir))
"""
R = """
told <- commandArgs(trailingOnly = TRUE)
lr <- as.numeric(told[1]); epochs <- as.integer(told[2]); file <- file.path(told[3], "state.rds")
state <- if (file.exists(file)) readRDS(file) else list(epoch = 0, weight = 0)
while (state$epoch < epochs) {
  state$weight <- state$weight - lr * 2 * (state$weight - 1)
  state$epoch <- state$epoch + 1
  saveRDS(state, file)
  cat(sprintf("epoch=%d loss=%.12g\\n", state$epoch, (state$weight - 1)^2))
}
"""
SHELL = """
epoch=$(cat "$HPO4DL_CHECKPOINT_PATH/epoch" 2>/dev/null || echo 0)
while [ "$epoch" -lt "$HPO4DL_EPOCH" ]; do
    epoch=$((epoch + 1))
    echo "$epoch" > "$HPO4DL_CHECKPOINT_PATH/epoch"
    echo "{\\"epoch\\": $epoch, \\"metric\\": $((100 / epoch)), \\"width\\": $HPO4DL_WIDTH}" >> "$HPO4DL_RESULTS"
done
"""


def raced(folder: Path, typed: list[str], program: list[str], budget: int = 6) -> Run:
    """The run of `hpo4dl run`, ended by its budget after the first epoch, and of `hpo4dl resume`."""
    environment = {
        **os.environ,
        'PYTHONPATH': str(ROOT),
        'HOME': str(folder),
        'OMP_NUM_THREADS': '1',
        'HF_HUB_OFFLINE': '1',
    }
    options = ['--max-epochs', '3', '--optimizer', 'asha', '--seed', '0', '--minimize']
    command = [sys.executable, '-m', 'hpo4dl', 'run', *typed, *options, '--max-budget', '1', '--', *program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (run_folder,) = (folder / 'hpo4dl_results').iterdir()
    command = [sys.executable, '-m', 'hpo4dl', 'resume', str(run_folder), '--max-budget', str(budget)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    run = read_run(run_folder)
    assert run.epochs_spent == budget
    assert [trial.failed for trial in run.trials.values() if trial.failed] == []
    events = map(json.loads, (run_folder / 'journal.jsonl').read_text(encoding='utf-8').splitlines())
    assert any(event.get('previous_epoch') for event in events), 'nothing went on, so nothing was tested'
    return run


def test_hydra_untouched(tmp_path: Path) -> None:
    """By overrides, with a configuration group, and a hyperparameter that only one of its choices has."""
    pytest.importorskip('hydra', reason='needs hydra-core')
    (tmp_path / 'app.py').write_text(HYDRA)
    typed = '--choice optimizer sgd adam --float optimizer.lr 1e-4 1 --log --float optimizer.momentum 0 0.9'.split()
    typed += ['--when', 'optimizer.momentum: optimizer == sgd']
    run = raced(
        tmp_path, typed, [sys.executable, 'app.py', '{overrides}', 'epochs={epoch}', 'folder={checkpoint_path}']
    )
    for trial in run.trials.values():
        lr = trial.configuration['optimizer.lr']
        assert trial.metrics == {e: pytest.approx(abs(lr - 0.01) + 1 / e) for e in trial.metrics}


def test_torchrun_is_one_trial_of_several_processes(tmp_path: Path) -> None:
    pytest.importorskip('torch.distributed')
    (tmp_path / 'ddp.py').write_text(TORCHRUN)
    program = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    run = raced(
        tmp_path, ['--float', 'lr', '0.01', '0.4'], [*program, 'ddp.py', '{lr}', '{epoch}', '{checkpoint_path}']
    )
    for trial in run.trials.values():
        lr = trial.configuration['lr']
        expected = {e: pytest.approx(0.25 * (1 - 4 * lr) ** (2 * e), rel=1e-4) for e in trial.metrics}
        assert trial.metrics == expected
    assert {observation.info['processes'] for observation in run.observations} == {2}


def test_torchrun_dies_with_its_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo4dl import command_objective
    from hpo4dl.trial import Attempt, Trial

    monkeypatch.chdir(tmp_path)
    (tmp_path / 'hangs.py').write_text(
        'import os, signal, time\nsignal.signal(15, signal.SIG_IGN)\nopen("pid_%d" % os.getpid(), "w")\ntime.sleep(600)'
    )
    program = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', 'hangs.py']
    objective = command_objective(program, time_limit=20, grace=1)
    outcome = objective.train_attempt(
        Attempt(0, Trial(0, {}, 0, 1), str(tmp_path), None, '', log=str(tmp_path / 'log'))
    )
    assert str(outcome.failed).startswith('time limit')
    pids = [file.name[4:] for file in tmp_path.glob('pid_*')]
    assert len(pids) == 2, (tmp_path / 'log').read_text()
    assert not any(Path('/proc', pid).exists() for pid in pids)


def test_lightning_cli(tmp_path: Path) -> None:
    pytest.importorskip('lightning', reason='needs lightning')
    pytest.importorskip('jsonargparse', reason='needs jsonargparse')
    (tmp_path / 'cli.py').write_text(LIGHTNING)
    trainer = '--trainer.max_epochs {epoch} --trainer.accelerator cpu --trainer.enable_progress_bar false'.split()
    saved = '--trainer.callbacks ModelCheckpoint --trainer.callbacks.dirpath {checkpoint_path}'.split()
    saved += '--trainer.callbacks.save_last true --ckpt_path {resume_path}/last.ckpt'.split()
    model = '--model.lr {lr} --model.momentum {momentum}'.split()
    typed = '--float lr 1e-3 0.5 --log --float momentum 0 0.9'.split()
    run = raced(tmp_path, typed, [sys.executable, 'cli.py', 'fit', *model, *trainer, *saved])
    assert all(len(set(trial.metrics.values())) == trial.epoch for trial in run.trials.values())


def test_transformers_trainer(tmp_path: Path) -> None:
    pytest.importorskip('transformers', reason='needs transformers')
    pytest.importorskip('accelerate', reason='needs accelerate')
    (tmp_path / 'trainer.py').write_text(TRANSFORMERS)
    program = '--output_dir {checkpoint_path} --num_train_epochs {epoch} --learning_rate {lr} --report_to none'.split()
    program += '--eval_strategy epoch --save_strategy epoch --lr_scheduler_type constant --use_cpu true'.split()
    typed = '--float lr 1e-5 1e-2 --log --metric eval_loss'.split()
    run = raced(tmp_path, typed, [sys.executable, 'trainer.py', *program], budget=5)
    assert all(0 < metric < 3 for trial in run.trials.values() for metric in trial.metrics.values())


def test_r(tmp_path: Path) -> None:
    if not shutil.which('Rscript'):
        pytest.skip('needs R')
    (tmp_path / 'train.R').write_text(R)
    typed = ['--float', 'lr', '0.01', '0.4']
    run = raced(tmp_path, typed, ['Rscript', 'train.R', '{lr}', '{epoch}', '{checkpoint_path}'])
    for trial in run.trials.values():
        lr = trial.configuration['lr']
        assert trial.metrics == {e: pytest.approx((1 - 2 * lr) ** (2 * e)) for e in trial.metrics}


def test_shell(tmp_path: Path) -> None:
    """By environment variables alone, results as JSON into a file."""
    (tmp_path / 'train.sh').write_text(SHELL)
    run = raced(tmp_path, ['--int', 'width', '1', '64'], ['sh', 'train.sh'])
    for trial in run.trials.values():
        assert trial.metrics == {epoch: 100 // epoch for epoch in trial.metrics}
    for observation in run.observations:
        assert observation.info == {'width': run.trials[observation.trial].configuration['width']}


def test_all_of_them_are_where_they_should_be() -> None:
    """In the environment that is made for them, nothing is skipped."""
    if 'HPO4DL_ALL_PROGRAMS' not in os.environ:
        pytest.skip('only in `tox -e programs`')
    for package in ('hydra', 'lightning', 'jsonargparse', 'transformers', 'accelerate'):
        assert importlib.util.find_spec(package), package
