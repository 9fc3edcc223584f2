"""The command line: `hpo4dl report RUN` and its like, or `python -m hpo4dl`. RUN is the folder of a run.

Nothing but `resume` writes into a run's folder.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..analysis.explain import explain, explanation_text
from ..analysis.export import FORMATS, export, importance
from ..analysis.page import page, watch
from ..analysis.plots import draw, draw_comparison, draw_explanation, save
from ..analysis.replay import replay
from ..analysis.report import comparison_text, report_text
from ..analysis.run import read_run, to_json
from ..errors import ArgumentError, HPO4DLError
from ..text import escape
from ..tuner import Tuner
from .executor_check import check_executor
from .vendor import vendor


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, or 1 with one line on stderr that says what is wrong."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    options = parser().parse_args(arguments)
    try:
        options.command(options)
        sys.stdout.flush()
    except HPO4DLError as error:
        print(f'hpo4dl: {error}', file=sys.stderr)
        return 1
    except BrokenPipeError:  # `hpo4dl report RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command line accepts."""
    top = argparse.ArgumentParser('hpo4dl', description='Look at a run of hpo4dl, go on with it, take it elsewhere.')
    commands = top.add_subparsers(required=True, metavar='COMMAND')

    def command(function: Any, text: str, runs: str | None = None) -> argparse.ArgumentParser:
        added = commands.add_parser(function.__name__.strip('_'), help=text, description=text)
        added.set_defaults(command=function)
        added.add_argument('run', metavar='RUN', nargs=runs, help='the folder of a run')
        return added

    text = 'also the importance of the hyperparameters for the metric at an epoch (needs hpo4dl[optuna])'
    importance_option: dict[str, Any] = {'nargs': '?', 'const': 0, 'type': int, 'metavar': 'EPOCH', 'help': text}
    one = command(report, 'what a run came to, as text')
    one.add_argument('--json', action='store_true', help='everything, for other programs')
    one.add_argument('--importance', **importance_option)
    one = command(plot, 'pictures of a run, or a page for the browser')
    one.add_argument('-o', '--output', help='a file, .png or .svg (needs hpo4dl[plot]); default: RUN.png')
    one.add_argument('--html', action='store_true', help='one page that opens offline; default: RUN.html')
    one.add_argument('--importance', **importance_option)
    one = command(watch_, 'the page of a run, on a local port, refreshed while the run goes on')
    one.add_argument('--port', type=int, default=8008, help='default: 8008, or a free one if that is taken')
    one = command(compare, 'several runs side by side', runs='+')
    one.add_argument('-o', '--output', help='also draw them into a file, .png or .svg (needs hpo4dl[plot])')
    one = command(explain_, 'why DyHPO trained what it trained: one decision, and what it was weighed against')
    one.add_argument('--step', type=int, help='which decision, from 1; default: the last one')
    one.add_argument('-o', '--output', help='also draw it into a file, .png or .svg (needs hpo4dl[plot])')
    one = command(export_, 'a run in the format of another tool')
    one.add_argument('--to', required=True, choices=FORMATS)
    one.add_argument('-o', '--output', help='where to; for optuna a file or a storage URL. Text goes to stdout without')
    one = command(resume, 'go on with a run')
    one.add_argument('objective', metavar='MODULE:FUNCTION', help='the objective function; MODULE may lie here')
    one.add_argument('--max-budget', type=int, help='epochs in all, instead of those of the run')
    one.add_argument('--time-limit', type=float, help='seconds')
    one.add_argument('--target', type=float, help='a metric that ends the race')
    one.add_argument('--executor', metavar='MODULE:NAME', help='where calls are made: an executor, or what makes one')
    one.add_argument('--num-workers', type=int, default=1, help='calls at a time; alone: processes of this machine')
    one.add_argument('--retry', type=int, help='how often a call that failed is made again')
    one.add_argument('--take-over', action='store_true', help='past the lock of another host that is known to be dead')
    one.add_argument('--salvage', action='store_true', help='go on from what is whole of a damaged run')
    command(replay_, 'take every decision of a run again, offline, and compare')
    text = 'make the calls of a race on an executor, and say what fails'
    added = commands.add_parser('check-executor', help=text, description=text)
    added.set_defaults(command=check)
    added.add_argument('executor', metavar='MODULE:NAME', help='an executor, or what makes one; MODULE may lie here')
    added.add_argument('--num-workers', type=int, default=2, help='calls at a time; default: 2')
    added.add_argument('--folder', help='that workers and this process see; default: a temporary one of this machine')
    added.add_argument('--kill', action='store_true', help='also let a worker die; some executors are broken then')
    added.add_argument('--seconds', type=float, default=60, help='that calls may take to come back; default: 60')
    added = commands.add_parser('vendor', help='copy hpo4dl into a code base', description=vendor.__doc__)
    added.set_defaults(command=vendor_)
    added.add_argument('destination', metavar='DEST', help='a folder; the copy is DEST/hpo4dl')
    return top


def report(options: argparse.Namespace) -> None:
    """`report RUN [--json] [--importance]`."""
    run, wanted = read_run(options.run), options.importance
    shares, epoch, trials = importance(run, wanted or None) if wanted is not None else ({}, 0, 0)
    if options.json:
        told = to_json(run)
        if shares:
            told['importance'] = {'epoch': epoch, 'trials': trials, 'shares': shares}
        print(json.dumps(told))
        return
    print(report_text(run))
    for name, value in run.environment.items():
        print(f'         {escape(name):20} {escape(value)}')
    if shares:
        print(f'\nimportance for the metric at epoch {epoch} (fANOVA on {trials} trials)')
        for name, share in shares.items():
            print(f'  {share:6.1%}  {escape(name)}')


def plot(options: argparse.Namespace) -> None:
    """`plot RUN [-o FILE] [--html] [--importance]`."""
    run = read_run(options.run)
    output = Path(options.output or run.name + ('.html' if options.html else '.png'))
    if options.html:
        try:
            output.write_text(page(run), encoding='utf-8')
        except OSError as error:
            raise ArgumentError('output', str(output), f'a file that can be written ({error})') from error
    else:
        wanted = options.importance
        save(draw(run, None if wanted is None else importance(run, wanted or None)), output)
    print(output)


def watch_(options: argparse.Namespace) -> None:
    """`watch RUN [--port N]`."""
    watch(options.run, options.port)


def compare(options: argparse.Namespace) -> None:
    """`compare RUN RUN... [-o FILE]`."""
    runs = [read_run(folder) for folder in options.run]
    print(comparison_text(runs))
    if options.output:
        save(draw_comparison(runs), Path(options.output))


def explain_(options: argparse.Namespace) -> None:
    """`explain RUN [--step N] [-o FILE]`."""
    explained = explain(options.run, options.step)
    print(explanation_text(explained))
    if options.output:
        save(draw_explanation(explained, read_run(options.run)), Path(options.output))


def export_(options: argparse.Namespace) -> None:
    """`export RUN --to FORMAT [-o FILE]`."""
    text = export(read_run(options.run), options.to, options.output)
    if text is not None:
        sys.stdout.write(text)


def resume(options: argparse.Namespace) -> None:
    """`resume RUN MODULE:FUNCTION`."""
    tuner = Tuner.resume(
        options.run,
        load('objective', options.objective),
        max_budget=options.max_budget,
        time_limit=options.time_limit,
        target=options.target,
        executor=load('executor', options.executor) if options.executor else None,
        num_workers=options.num_workers,
        retry=options.retry,
        take_over=options.take_over,
        salvage=options.salvage,
    )
    tuner.run()
    print(report_text(read_run(tuner.run_folder)))


def replay_(options: argparse.Namespace) -> None:
    """`replay RUN`."""
    print(f'{replay(options.run)} decisions were taken again: all are those of the run')


def check(options: argparse.Namespace) -> None:
    """`check-executor MODULE:NAME`; an error if a check fails."""
    executor = load('executor', options.executor)
    checks = check_executor(executor, options.num_workers, options.folder, options.kill, options.seconds)
    failed = sum(check.problem is not None for check in checks)
    if failed:
        raise HPO4DLError(f'{failed} of {len(checks)} checks failed')


def vendor_(options: argparse.Namespace) -> None:
    """`vendor DEST`."""
    print(vendor(Path(options.destination)))


def load(argument: str, name: str) -> Any:
    """The object called MODULE:NAME; modules in the current folder are found too.

    Raises:
        ArgumentError: there is none.
    """
    module, _, attribute = name.partition(':')
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(argument, name, f'MODULE:NAME of what can be imported from here ({error})') from error
