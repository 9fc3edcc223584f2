"""`hpo4dl run`, which races a program, and `hpo4dl space`, which writes a search space down.

    hpo4dl run --float lr 1e-5 1e-1 --log --max-epochs 27 --max-budget 300 -- python train.py --lr {lr} ...

What `run` was typed with lies in the run's folder as `command.json`, so that `hpo4dl resume RUN` needs no further word.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..analysis.output import write_output
from ..errors import ArgumentError, JournalError
from ..files import read_json, write_text

if TYPE_CHECKING:
    from ..integrations.command import CommandObjective

NAME = 'command.json'
WORKERS = ('num_workers', 'devices', 'devices_per_trial', 'trials_per_device')
"""Arguments of `Tuner.resume` that are kept there."""

EPILOG = """
SPACE is --space FILE, or --float, --int, --choice, ... for each hyperparameter.
In the arguments of the program, {lr} is the value of the hyperparameter lr,
{epoch} the epoch to train up to, and {checkpoint_path} the folder to save in,
and to go on from if something lies there. For example:

  hpo4dl run --float lr 1e-4 1 --log --choice optimizer sgd adam \\
      --max-epochs 27 --max-budget 300 --minimize -- \\
      python train.py --lr {lr} --optimizer {optimizer} --epochs {epoch} \\
      --checkpoint-dir {checkpoint_path}

The program prints its metric after each epoch, as epoch=3 loss=0.2 or the like.
docs/shell.md in the repository has all of it.
"""


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `run` and `space` to the command line; `command` makes the parser of one, of its function and a text."""
    one = command(run_run, 'race a program: tune its arguments', of_run=False)
    one.usage, one.epilog = 'hpo4dl run SPACE --max-epochs N --max-budget N [options] -- PROGRAM ...', EPILOG
    one.formatter_class = argparse.RawDescriptionHelpFormatter
    add_space(one)
    add = one.add_argument
    add('--max-epochs', type=int, required=True, metavar='N', help='epochs of one configuration at most')
    add('--max-budget', type=amount, metavar='N', help='epochs to train in all, or what --cost counts')
    text = 'epochs (default), seconds, or reported: a number "cost" of each epoch'
    add('--cost', default='epochs', help=text)
    add('--time-limit', type=float, metavar='SECONDS', help='start no call that would end later than that')
    add('--target', type=float, metavar='METRIC', help='a metric that ends the race')
    add('--minimize', action='store_true', help='smaller metrics are better; default: larger ones')
    add('--metric', metavar='NAME', help='which number it is in "epoch=3 NAME=0.91"; default: the only one')
    text = 'what other lines of results look like, with (?P<epoch>...) and (?P<metric>...)'
    add('--pattern', metavar='REGEX', help=text)
    add('--first-epoch', type=int, default=1, metavar='N', help='what the program calls it; default: 1')
    text = 'the program cannot go on from a checkpoint, so that each call trains from epoch 1'
    add('--from-scratch', action='store_true', help=text)
    add('--optimizer', help='dyhpo, hyperband, asha or random; default: dyhpo, asha with --from-scratch')
    add('--seed', type=int, metavar='N', help='default: one is drawn, and recorded')
    add('--num-workers', type=int, default=1, metavar='N', help='trainings at a time; default: 1')
    add('--devices', nargs='+', metavar='cuda:N', help='accelerators, one for each worker')
    add('--devices-per-trial', type=int, default=1, metavar='N', help='devices that a worker sees; default: 1')
    add('--trials-per-device', type=int, default=1, metavar='N', help='workers that share one; default: 1')
    add('--retry', type=int, default=0, metavar='N', help='how often a call that failed is made again; default: 0')
    add('--trial-timeout', type=float, metavar='SECONDS', help='end a call that takes longer')
    add('--grace', type=float, default=10, metavar='SECONDS', help='between SIGTERM and SIGKILL then; default: 10')
    add('--checkpoints', default='copy', metavar='HOW', help='copy (default): a call works on a copy; or in-place')
    add('--max-disk', metavar='SIZE', help="that all checkpoints may take, such as '20GB'")
    text = "where the run's own is made; default: hpo4dl_results"
    add('--output-path', default='hpo4dl_results', metavar='FOLDER', help=text)
    add('--name', help="what the run's folder is called, before date and time")
    add('--storage-path', metavar='FOLDER', help="where checkpoints lie; default: in the run's")
    add('program', nargs='+', metavar='PROGRAM', help='what to run, after --')

    one = command(run_space, 'write a search space as TOML or JSON', of_run=False)
    add_space(one)
    one.add_argument('-o', '--output', help='a file, .toml or .json; default: as TOML to stdout')


def add_space(parser: argparse.ArgumentParser) -> None:
    """Add the options that declare a search space."""
    parser.set_defaults(declared=None)
    add = parser.add_argument
    options: dict[str, Any] = {'action': Declare, 'dest': 'declared', 'default': argparse.SUPPRESS}
    add('--space', metavar='SPACE', help='space.toml, space.json, or in Python FILE.py:NAME or MODULE:NAME')
    bounds = ('NAME', 'LOW', 'HIGH')
    add('--float', nargs=3, metavar=bounds, help='a number between them', **options)
    add('--int', nargs=3, metavar=bounds, help='a whole number between them', **options)
    values = ('NAME', 'VALUE')
    add('--choice', nargs='+', metavar=values, help='one of the values', **options)
    add('--ordinal', nargs='+', metavar=values, help='one of the values, which have an order', **options)
    add('--constant', nargs=2, metavar=values, help='always this value', **options)
    add('--log', nargs=0, help='search the number before it on a logarithmic scale', **options)
    add('--default', nargs=1, metavar='VALUE', help='the default of the hyperparameter before it', **options)
    text = "a hyperparameter is there only then: 'momentum: optimizer == sgd'"
    add('--when', nargs=1, metavar='CONDITION', help=text, **options)


class Declare(argparse.Action):
    """Writes what an option says into the dictionary that declares the space."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        declared: dict[str, dict[str, Any]] = dict(namespace.declared or {})
        option = str(option_string).lstrip('-')
        texts: list[str] = [str(value) for value in values]
        try:
            if option in ('log', 'default'):
                last = list(declared)[-1] if declared else ''
                entry = declared.get(last, {})
                if not entry or (option == 'log' and not {'float', 'int'} & set(entry)):
                    raise ValueError('stands behind the hyperparameter that it is about')
                declared[last] = {**entry, option: True if option == 'log' else written(texts[0])}
            elif option == 'when':
                name, _, condition = texts[0].partition(':')
                if name.strip() not in declared or not condition.strip():
                    raise ValueError("'NAME: CONDITION', of a hyperparameter that is declared before it")
                declared[name.strip()] = {**declared[name.strip()], 'when': condition.strip()}
            else:
                name, *rest = texts
                if not rest or name in declared:
                    raise ValueError(f'{name!r} is declared before' if rest else 'NAME VALUE VALUE...')
                declared[name] = {option: declared_as(option, rest)}
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from error
        namespace.declared = declared


def amount(text: str) -> float:
    """Return a number, a whole one as int; raises ValueError."""
    return int(text) if text.isdecimal() else float(text)


def declared_as(kind: str, texts: Sequence[str]) -> Any:
    """Return what stands beside a kind of hyperparameter; ValueError where a number is none."""
    if kind == 'constant':
        return written(texts[0])
    return [float(t) if kind == 'float' else int(t) if kind == 'int' else written(t) for t in texts]


def written(text: str) -> str | int | float:
    """Return the number that is written like this by Python, or the text: '1.10' may be a version."""
    for kind in (int, float):
        try:
            value: int | float = kind(text)
        except ValueError:
            continue
        if str(value) == text and math.isfinite(value):
            return value
    return text


def space_of(options: argparse.Namespace) -> Any:
    """Return the space, or the dictionary that declares it, which the options name; raises ArgumentError."""
    if (options.space is None) == (options.declared is None):
        raise ArgumentError('--space', options.space, 'either --space, or --float, --int, --choice and the like')
    if options.space is None:
        return options.declared
    if options.space.endswith(('.toml', '.json')):
        from .space_files import read_space_file

        return read_space_file(Path(options.space))
    from .cli import imported

    return imported('--space', options.space)


def run_run(options: argparse.Namespace) -> None:
    """`run SPACE ... -- PROGRAM ...`."""
    from ..integrations.command import command_objective
    from ..tuner import Tuner

    objective = command_objective(
        options.program,
        options.metric,
        pattern=options.pattern,
        first_epoch=options.first_epoch,
        time_limit=options.trial_timeout,
        grace=options.grace,
    )
    names = inspect.signature(Tuner).parameters
    given = {name: value for name, value in vars(options).items() if name in names}
    given |= {'metric_name': options.metric or 'metric', 'trial_timeout': None}  # the objective sees to that itself
    given |= {'optimizer': options.optimizer or ('asha' if options.from_scratch else 'dyhpo')}
    given |= {'keep_checkpoints': 'none' if options.from_scratch else 'alive'}
    tuner = Tuner(objective, space_of(options), **given)
    stored = {'objective': vars(objective), 'workers': {name: getattr(options, name) for name in WORKERS}}
    write_text(tuner.run_folder / NAME, json.dumps(stored, indent=2))
    tuner.run()


def stored_command(run_folder: str) -> tuple[CommandObjective, dict[str, Any]]:
    """Return the program that `run` raced in this folder, and the other arguments of `Tuner.resume` that belong to it.

    Raises:
        JournalError: the run was not started like that, or the file is damaged.
    """
    from ..integrations.command import CommandObjective

    path = Path(run_folder, NAME)
    try:
        stored = read_json(path)
        objective = CommandObjective(**{**stored['objective'], 'command': tuple(stored['objective']['command'])})
        return objective, {name: stored['workers'][name] for name in WORKERS}
    except FileNotFoundError as error:
        what = 'give its objective function, too, as MODULE:FUNCTION or FILE.py:FUNCTION'
        raise JournalError(f'{run_folder}: not a run of `hpo4dl run`: {what}') from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JournalError(f'{path}: cannot be read: {error!r}; resume it with MODULE:FUNCTION') from error


def run_space(options: argparse.Namespace) -> None:
    """`space [-o FILE]`."""
    from ..space.declaration import as_space
    from .space_files import read_declaration, to_toml

    if options.declared is None and str(options.space).endswith(('.toml', '.json')):
        declared: Any = read_declaration(Path(options.space))
    else:
        declared = space_of(options)
    if not isinstance(declared, dict):
        raise ArgumentError('--space', options.space, 'a dictionary; ConfigSpace has a JSON of its own')
    as_space(declared)
    text = json.dumps(declared, indent=2) + '\n' if str(options.output).endswith('.json') else to_toml(declared)
    if options.output is None:
        sys.stdout.write(text)
    else:
        write_output(Path(options.output), text)
