"""`hpo4dl enqueue` and `hpo4dl stop`, which talk to a run under way, from any shell that sees its folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..analysis.run import read_run
from ..errors import ArgumentError
from .requests import Requests

if TYPE_CHECKING:
    from ..space.unit_cube import Space


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `enqueue` and `stop` to the command line; `command` makes the parser of one, of its function and a text."""
    one = command(run_enqueue, 'have a configuration raced next: hpo4dl enqueue RUN --lr 1e-3 --width 64', nargs=None)
    one.usage = 'hpo4dl enqueue RUN --NAME VALUE [--NAME VALUE ...]'
    one.add_argument('values', nargs=argparse.REMAINDER, metavar='--NAME VALUE', help='each of its hyperparameters')
    one = command(run_stop, 'end a race that runs, as Ctrl-C does: the calls that run are the last ones')
    one.add_argument('--trial', type=int, metavar='N', help='instead, give this trial up, and end its call')


def run_enqueue(options: argparse.Namespace) -> None:
    """`enqueue RUN --NAME VALUE...`."""
    from ..records.run_folder import read_configuration_space
    from ..space.unit_cube import Space

    space = Space(read_configuration_space(Path(options.run)))
    configuration = typed(space, options.values)
    space.to_unit(configuration)
    Requests(Path(options.run)).add({'kind': 'enqueue', 'configuration': space.plain(configuration)})
    print('it is raced next' if read_run(options.run).worked_on_by() else 'it is raced when the run goes on')


def run_stop(options: argparse.Namespace) -> None:
    """`stop RUN [--trial N]`."""
    works = read_run(options.run).worked_on_by()
    if options.trial is None:
        if not works:
            raise ArgumentError('run', str(options.run), 'one that a tuner works on')
        Requests(Path(options.run)).add({'kind': 'stop'})
        print('the calls that run are the last ones')
        return
    if options.trial not in read_run(options.run).trials:
        raise ArgumentError('--trial', options.trial, 'the number of a trial of this run')
    Requests(Path(options.run)).add({'kind': 'give_up', 'trial': options.trial})
    print('it is given up' if works else 'it is given up when the run goes on')


def typed(space: Space, texts: list[str]) -> dict[str, Any]:
    """Return the configuration that is typed as `--lr 1e-3 --width=64`, each value of its hyperparameter's type."""
    texts = [part for text in texts for part in (text.split('=', 1) if text.startswith('--') else [text])]
    names, values = texts[::2], texts[1::2]
    if len(names) != len(values) or not all(name.startswith('--') for name in names):
        raise ArgumentError('configuration', texts, '--NAME VALUE, of each hyperparameter')
    configuration: dict[str, Any] = {}
    for name, text in zip((name[2:] for name in names), values):
        if name not in space.transforms:
            raise ArgumentError('configuration', f'--{name}', f'the hyperparameters {list(space.names)}')
        transform = space.transforms[name]
        listed = {str(value): value for value in getattr(transform, 'values', ())}
        configuration[name] = listed[text] if text in listed else number(text)
    return configuration


def number(text: str) -> Any:
    """Return the number that is written like this; the text where it is none."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
