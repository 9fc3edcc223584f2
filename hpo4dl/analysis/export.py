"""Export a run to the formats of other tools.

csv, parquet    one row per epoch, then one per failed trial; `configuration.NAME` and `info.NAME` are columns
json            the dictionary of `run.to_json`
configspace     the configuration space, as the installed ConfigSpace writes it
optuna          a study in an Optuna storage; every epoch is an intermediate value
deepcave        the folder of a SMAC 3 run, which DeepCAVE opens; every epoch is a budget
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, HPO4DLError, StorageError
from ..files import read_regular
from ..integrations.extras import import_extra
from ..records.state import TrialRecord
from ..text import escape, one_line
from .output import write_output
from .run import Hyperparameter, Run, is_number, to_json

FORMATS = ('csv', 'json', 'parquet', 'optuna', 'deepcave', 'configspace')
ENDINGS = {'parquet': '.parquet', 'optuna': '.journal', 'deepcave': '-deepcave'}
"""Formats that are not text: without an output they are written to a file of the run's name with this ending."""


def export(run: Run, to: str, output: str | None = None) -> str | None:
    """Write a run in another tool's format.

    Args:
        run: what `read_run` returned.
        to: one of `FORMATS`.
        output: a file; for 'deepcave' a folder that does not exist; for 'optuna' a file or any storage URL of Optuna.

    Returns:
        The text where it is one and no `output` is given, else None.

    Raises:
        ArgumentError: an argument cannot be used.
        HPO4DLError: a package is missing, or the run has nothing to export.
        StorageError: the file cannot be written.
    """
    if to not in FORMATS:
        raise ArgumentError('to', to, ', '.join(FORMATS))
    if to in ENDINGS:
        output = output or run.name + ENDINGS[to]
    try:
        if to == 'parquet':
            write_parquet(run, Path(str(output)))
        elif to == 'optuna':
            write_study(run, str(output))
        elif to == 'deepcave':
            write_smac(run, Path(str(output)))
        else:
            text = {'csv': as_csv, 'json': as_json, 'configspace': as_configspace}[to](run)
            if output is None:
                return text
            write_output(Path(output), text)
    except (OSError, ValueError) as error:
        if isinstance(error, HPO4DLError):
            raise
        raise StorageError(f'{output}: cannot be written: {error}') from error
    return None


def rows(run: Run) -> list[dict[str, Any]]:
    """Return one row per epoch, in the order of the journal, then one per failed trial."""
    table = []
    for o in run.observations:
        row: dict[str, Any] = {'trial': o.trial, 'epoch': o.epoch, 'metric': o.metric, 'failed': None}
        row |= {'epochs_spent': o.spent, 'elapsed': o.elapsed, 'seconds': o.seconds, 'overhead': o.overhead}
        row |= {f'configuration.{name}': value for name, value in run.trials[o.trial].configuration.items()}
        table.append(row | {f'info.{name}': value for name, value in o.info.items()})
    for trial in run.trials.values():
        if trial.failed is not None:
            row = {'trial': trial.id, 'epoch': None, 'metric': None, 'failed': trial.failed}
            table.append(row | {f'configuration.{name}': value for name, value in trial.configuration.items()})
    return table


def as_csv(run: Run) -> str:
    """Return `rows` as CSV; missing values are empty."""
    table = rows(run)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in table for key in row)), lineterminator='\n')
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def as_json(run: Run) -> str:
    """Return `to_json` as text."""
    return json.dumps(to_json(run), indent=1) + '\n'


def as_configspace(run: Run) -> str:
    """Return the space as JSON of the installed ConfigSpace."""
    from ..space.serialization import read_space, write_space  # brings ConfigSpace

    path = run.folder / 'configuration_space.json'
    try:
        return write_space(read_space(read_regular(path).decode()))
    except Exception as error:  # whatever ConfigSpace raises
        raise HPO4DLError(f'{path}: this ConfigSpace cannot read it: {escape(repr(error))}') from error


def write_parquet(run: Run, path: Path) -> None:
    """Write `rows` as a Parquet file; a column of mixed types holds JSON."""
    pyarrow, parquet = import_extra('pyarrow', 'parquet'), import_extra('pyarrow.parquet', 'parquet')
    table = rows(run)
    names = list(dict.fromkeys(key for row in table for key in row))
    columns = {in_unicode(name): of_one_type([row.get(name) for row in table]) for name in names}
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), content)
    write_output(path, content.getvalue())


def in_unicode(text: str) -> str:
    """Return the text with what no file can hold, halves of pairs, as backslashes."""
    return text.encode(errors='backslashreplace').decode()


def of_one_type(values: Sequence[Any]) -> list[Any]:
    """Return the values if they are all booleans, all text or all numbers, else each of them as JSON."""
    given = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in given):
        return list(values)
    if all(isinstance(value, str) for value in given):
        return [None if value is None else in_unicode(value) for value in values]
    if all(is_number(value) for value in given):
        small = all(isinstance(value, int) and abs(value) < 2**63 for value in given)
        return list(values) if small else [None if value is None else float(value) for value in values]
    return [None if value is None else json.dumps(value) for value in values]


def write_study(run: Run, output: str) -> None:
    """Write a study named after the run; a trial's value is its best metric, whether it is finished or paused.

    `output` is a storage URL, an SQLite file (.db), or else a file of Optuna's journal storage, which is fastest.
    """
    optuna = import_extra('optuna', 'optuna')
    storage: Any = output
    if '://' not in output:
        path = os.path.realpath(output)  # Optuna locks by a link, which it takes for the file
        if os.path.lexists(path) and not os.path.isfile(path):
            raise StorageError(f'{output}: cannot be written: not a regular file')
        storage = f'sqlite:///{path}'
    direction = 'minimize' if run.minimize else 'maximize'
    try:
        if '://' not in output and not output.endswith(('.db', '.sqlite', '.sqlite3')):
            if os.path.exists(path) and read_regular(Path(path), 10) not in (b'', b'{"op_code"'):
                raise ValueError('not a file of its journal storage')
            storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
        study = create_study(storage=storage, study_name=run.name, direction=direction)
    except optuna.exceptions.DuplicatedStudyError as error:
        raise ArgumentError('output', output, f'a storage without a study {run.name!r}') from error
    except Exception as error:  # whatever SQLAlchemy raises, or Optuna of a file that it did not write
        raise StorageError(f'{output}: Optuna cannot write there: {one_line(error)}') from error
    study.set_user_attr('hpo4dl', json.dumps({'settings': run.settings, 'environment': run.environment}))
    distributions = {h.name: distribution(h, run) for h in run.hyperparameters}
    for trial in run.trials.values():
        state = 'COMPLETE' if trial.best else 'RUNNING' if trial.id in run.running else 'FAIL'
        record = study_trial(trial, trial.best.metric if trial.best else None, state, distributions)
        study.add_trial(record)


def study_trial(trial: TrialRecord, value: float | None, state: str, distributions: dict[str, Any]) -> Any:
    """Return a trial as Optuna's FrozenTrial, with its learning curve as intermediate values."""
    optuna = import_extra('optuna', 'optuna')
    attributes = {'hpo4dl_trial': trial.id, 'trained_to': trial.epoch, 'failed': trial.failed}
    done = None if state == 'RUNNING' else datetime.fromtimestamp(trial.ended or trial.began)
    return optuna.trial.FrozenTrial(
        number=-1,
        trial_id=-1,
        state=optuna.trial.TrialState[state],
        value=value,
        datetime_start=datetime.fromtimestamp(trial.began),
        datetime_complete=done,
        params=trial.configuration,
        distributions={name: distributions[name] for name in trial.configuration},
        user_attrs=attributes,
        system_attrs={},
        intermediate_values=trial.metrics,
    )


def distribution(h: Hyperparameter, run: Run) -> Any:
    """Return Optuna's distribution of a hyperparameter."""
    of = import_extra('optuna', 'optuna').distributions
    if h.kind != 'number':
        return of.CategoricalDistribution(h.values)
    low, high = run.bounds(h)
    if h.integer:
        return of.IntDistribution(math.ceil(low), math.floor(high), log=h.log and low >= 1)
    return of.FloatDistribution(low, high, log=h.log and low > 0)


def create_study(**arguments: Any) -> Any:
    """Call Optuna's `create_study` without its log line."""
    optuna = import_extra('optuna', 'optuna')
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(**arguments)
    finally:
        optuna.logging.set_verbosity(verbosity)


def write_smac(run: Run, folder: Path) -> None:
    """Write a folder as SMAC 3 writes its runs, which DeepCAVE opens. SMAC minimizes: metrics to maximize are negated.

    DeepCAVE's own format is not used, because DeepCAVE 1.4.1 cannot read it. DeepCAVE takes each entry's start time for
    the start of the run, so all start times are 0: a run's duration is right, but its objective 'Time' is the time at
    which an epoch ended, not its duration.
    """
    if not run.observations:
        raise HPO4DLError(f'{run.folder}: no trial has given a metric yet, so DeepCAVE would find nothing')
    if folder.exists():
        raise ArgumentError('output', str(folder), 'a folder that does not exist')
    sign, seed = 1 if run.minimize else -1, run.settings.get('seed', 0)
    entry = {'instance': None, 'seed': seed, 'cpu_time': 0.0}
    data = []
    for o in run.observations:
        times = {'time': o.seconds, 'starttime': 0.0, 'endtime': o.elapsed}
        cost = {'cost': [sign * o.metric], 'status': 1, 'additional_info': dict(o.info)}
        data.append({'config_id': o.trial + 1, 'budget': float(o.epoch), **entry, **times, **cost})
    for trial in run.trials.values():
        if trial.failed is not None:
            times = {'time': 0.0, 'starttime': 0.0, 'endtime': 0.0}
            cost = {'cost': [2147483647.0], 'status': 2, 'additional_info': {'traceback': trial.traceback}}
            data.append({'config_id': trial.id + 1, 'budget': float(trial.epoch + 1), **entry, **times, **cost})
    keys = 'config_id instance seed budget cost time cpu_time status starttime endtime additional_info'.split()
    data = [{key: entry[key] for key in keys} for entry in data]
    configs = {str(trial.id + 1): trial.configuration for trial in run.trials.values()}
    history = {'stats': {'submitted': len(data), 'finished': len(data), 'running': 0}, 'data': data}
    history |= {'configs': configs, 'config_origins': dict.fromkeys(configs, 'hpo4dl')}
    name = 'metric' if run.minimize else '-metric'
    scenario = {'name': run.name, 'objectives': name, 'seed': seed, 'deterministic': True}
    scenario |= {'min_budget': 1, 'max_budget': run.max_epochs, 'n_trials': len(data)}
    space = as_configspace(run)
    folder.mkdir(parents=True)
    (folder / 'configspace.json').write_text(space, encoding='utf-8')
    (folder / 'runhistory.json').write_text(json.dumps(history, indent=1), encoding='utf-8')
    (folder / 'scenario.json').write_text(json.dumps(scenario, indent=1), encoding='utf-8')
