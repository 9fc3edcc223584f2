"""Callbacks that show a race in TensorBoard, MLflow, and Weights & Biases.

    tracker = TensorBoard('logs')
    Tuner(..., callbacks=[tracker]).run()
    tracker.close()

Each trial's learning curve is over its epochs, and the incumbent's metric over the epochs spent by the whole race. A
race that is resumed goes on where it was shown before, if the tracker is made with the same arguments. What a tracker
raises during the race is logged, and the race goes on.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import zlib
from collections.abc import Mapping
from typing import Any

from ..progress import Event
from ..text import truncate
from .extras import import_extra

MAX_BATCH = 100
"""Metrics or parameters that MLflow takes at once."""
MAX_OPEN = 50
"""Files that `TensorBoard` keeps open."""


class TensorBoard:
    """Writes a folder that `tensorboard --logdir` shows: each trial is a run, also on the page of hyperparameters.

    Args:
        folder: what to write into: a folder a trial, and one called 'race'.

    Raises:
        HPO4DLError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = os.fspath(folder)
        self._writer_type = import_extra('torch.utils.tensorboard', 'tensorboard').SummaryWriter
        self._hparams = import_extra('torch.utils.tensorboard.summary', 'tensorboard').hparams
        self._writers: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        writer = self._writer(f'trial_{event.trial.id:04d}')
        if event.trial.previous_epoch == 0:
            configuration = {name: as_scalar(value) for name, value in event.trial.configuration.items()}
            for summary in self._hparams(configuration, {'metric': 0.0}):  # `add_hparams` would open one more file
                writer.file_writer.add_summary(summary)
        for epoch, metric in event.metrics.items():
            writer.add_scalar('metric', metric, epoch)
        if event.failed is not None:
            writer.add_text('failed', event.failed, event.trial.epoch)
        writer.flush()
        if event.incumbent is not None:
            race = self._writer('race')
            race.add_scalar('incumbent', event.incumbent['metric'], event.epochs_spent)
            race.flush()

    def close(self) -> None:
        """Close the files; a further event opens new ones."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, name: str) -> Any:
        writer = self._writers.pop(name, None) or self._writer_type(os.path.join(self._folder, name))
        self._writers[name] = writer  # the latest used one last
        if len(self._writers) > MAX_OPEN:
            self._writers.pop(next(iter(self._writers))).close()
        return writer


class MLflow:
    """Writes MLflow runs: one for the race, and nested in it one a trial, with its configuration as parameters.

    Args:
        name: of the race's run, such as the name of the run's folder. A race that is resumed is found again by it.
        experiment: the experiment's name; made if it is not there. Default 'hpo4dl'.
        tracking_uri: where MLflow keeps its runs; default: as MLflow is configured.

    Raises:
        HPO4DLError: MLflow is not installed.
    """

    def __init__(self, name: str, experiment: str = 'hpo4dl', tracking_uri: str | None = None) -> None:
        self._mlflow = import_extra('mlflow', 'mlflow')
        self._client = self._mlflow.MlflowClient(tracking_uri)
        known = self._client.get_experiment_by_name(experiment)
        self._experiment = known.experiment_id if known else self._client.create_experiment(experiment)
        self._name = name
        self._runs: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        entities, now = self._mlflow.entities, int(time.time() * 1000)
        run = self._run(str(event.trial.id))
        metrics = [entities.Metric('metric', metric, now, epoch) for epoch, metric in event.metrics.items()]
        for first in range(0, len(metrics), MAX_BATCH):
            self._client.log_batch(run, metrics[first : first + MAX_BATCH])
        if event.trial.previous_epoch == 0:
            values = parameters_of(event.trial.configuration)
            parameters = [entities.Param(name, value) for name, value in values.items()]
            for first in range(0, len(parameters), MAX_BATCH):
                self._client.log_batch(run, params=parameters[first : first + MAX_BATCH])
        if event.failed is not None:
            self._client.set_tag(run, 'failed', truncate(event.failed, 500))
            self._client.set_terminated(run, 'FAILED')
        if event.incumbent is not None:
            best = event.incumbent['metric']
            self._client.log_metric(self._run('race'), 'incumbent', best, step=event.epochs_spent)

    def close(self) -> None:
        """Mark the runs that did not fail as finished."""
        for run in self._runs.values():
            if self._client.get_run(run).info.status == 'RUNNING':
                self._client.set_terminated(run)

    def _run(self, part: str) -> str:
        """Return the id of the run of a trial, or of the 'race': a known one, one that is there, or a new one."""
        if part not in self._runs:
            # Found by a digest: in a filter, there is no way to write every name.
            key = hashlib.sha256(self._name.encode(errors='backslashreplace')).hexdigest()[:32]
            tags = {'hpo4dl.race_key': key, 'hpo4dl.part': part}
            wanted = ' and '.join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
            tags['hpo4dl.race'] = truncate(self._name, 500)
            there = self._client.search_runs([self._experiment], wanted, max_results=1)
            if not there and part != 'race':
                tags['mlflow.parentRunId'] = self._run('race')
            name = truncate(self._name, 200) if part == 'race' else f'trial {part}'
            found = there[0] if there else self._client.create_run(self._experiment, tags=tags, run_name=name)
            self._runs[part] = found.info.run_id
        return self._runs[part]


class WeightsAndBiases:
    """Logs to one run of Weights & Biases: a row an epoch, with the trial's configuration; offline with mode='offline'.

    Args:
        settings: of `wandb.init`, such as project, name, dir, mode; with an id and resume='allow', a race that is
            resumed goes on in the same run.

    Raises:
        HPO4DLError: wandb is not installed.
    """

    def __init__(self, **settings: Any) -> None:
        self.run = import_extra('wandb', 'wandb').init(**{'project': 'hpo4dl', **settings})
        self.run.define_metric('*', step_metric='epochs_spent')
        self.run.define_metric('curves/*', step_metric='epoch')

    def __call__(self, event: Event) -> None:
        row: dict[str, Any] = {f'configuration/{name}': as_scalar(v) for name, v in event.trial.configuration.items()}
        row |= {'trial': event.trial.id, 'epochs_spent': event.epochs_spent}
        if event.incumbent is not None:
            row['incumbent'] = event.incumbent['metric']
        for epoch, metric in event.metrics.items():
            self.run.log({**row, 'epoch': epoch, 'metric': metric, f'curves/trial_{event.trial.id}': metric})
        if event.failed is not None:
            self.run.log({**row, 'epoch': event.trial.epoch, 'failed': event.failed})

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()


def parameters_of(configuration: Mapping[str, Any]) -> dict[str, str]:
    """Return a configuration as MLflow takes it: other characters in names become '_', and each name is another one."""
    found: dict[str, str] = {}
    for name, value in configuration.items():
        clean = re.sub(r'[^\w\-. :/]', '_', name, flags=re.ASCII)
        if not clean.strip('. /') or len(clean) > 200 or clean in found:
            clean = f'{clean[:200]}_{zlib.crc32(name.encode(errors="backslashreplace")):08x}'
        found[clean] = truncate(str(value), 500)
    return found


def as_scalar(value: Any) -> bool | int | float | str:
    """Return a hyperparameter's value as all trackers take it."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)
