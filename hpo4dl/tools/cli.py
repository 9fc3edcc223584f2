"""The command line: `hpo4dl report RUN` and its like, or `python -m hpo4dl`. RUN is the folder of a run, or of runs.

Nothing but `resume` and `finish` writes into a run's folder. Commands that need NumPy, torch or ConfigSpace import them
when they run, so that those that only look at a run start at once.
"""

from __future__ import annotations

import argparse
import json
import os
import pkgutil
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..analysis.export import ENDINGS, FORMATS, export
from ..analysis.importance import importance, importance_text
from ..analysis.output import write_output
from ..analysis.report import comparison_text, list_text, report_text
from ..analysis.run import read_run, to_json
from ..errors import ArgumentError, HPO4DLError, JournalError
from ..records.runs import find_run, instead, runs_below
from ..text import escape
from . import run_command, talk_command
from .guards import IMPORTING

if TYPE_CHECKING:
    from ..tuner import Tuner

Command = Callable[[argparse.Namespace], None]
RUN = "the run's folder; 'last', or left out: the newest run below the current folder"
RUNS = 'the folder of a run, or one with runs below it, of which the newest is taken'
EXAMPLES = """examples:
  hpo4dl run --help                    how to tune a training program
  hpo4dl list                          the runs below this folder
  hpo4dl report                        the newest of them, as text
  hpo4dl plot --html                   ... as a page for the browser
  hpo4dl resume tune.py:objective      ... goes on
  hpo4dl report hpo4dl_results/RUN     a certain one
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, or 1 with one line on stderr that says what is wrong."""
    sys.stdout = sys.stdout or open(os.devnull, 'w')  # it was closed: `hpo4dl report >&-`
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    known = parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        known.print_help(sys.stderr)
        return 2
    options = known.parse_args(arguments)
    try:
        if getattr(options, 'objective', '') is None and ':' in options.run and not os.path.exists(options.run):
            options.run, options.objective = 'last', options.run  # RUN was left out
        if 'run' in options:
            given = options.run
            found = [str(find_run(name, newest=True)) for name in (given if isinstance(given, list) else [given])]
            options.run = found if isinstance(given, list) else found[0]
        options.command(options)
        sys.stdout.flush()
    except HPO4DLError as error:
        lines = [line for text in (f'hpo4dl: {error}', *getattr(error, '__notes__', [])) for line in text.splitlines()]
        print('\n'.join(map(escape, lines)), file=sys.stderr)  # paths and names may come from others
        return 1
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # which is `hpo4dl report RUN | head`
            print(f'hpo4dl: the system refuses it: {escape(error)}', file=sys.stderr)
            return 1
    except KeyboardInterrupt as error:
        print('\n'.join(['', *getattr(error, '__notes__', [])]), file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; `command` of its result is the function to call."""
    top = argparse.ArgumentParser(
        'hpo4dl',
        description='Tune a training program; look at a run, go on with it, take it elsewhere.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument('--version', action='version', version=f'hpo4dl {version()}')
    commands = top.add_subparsers(required=True, metavar='COMMAND')

    def command(function: Command, text: str, of_run: bool = True, **options: Any) -> argparse.ArgumentParser:
        name = function.__name__.removeprefix('run_').replace('_', '-')
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=function)
        if of_run:
            text, options = (RUNS, options) if options else (RUN, {'nargs': '?', 'default': 'last'})
            added.add_argument('run', metavar='RUN', help=text, **options)
        return added

    run_command.add_commands(command)
    add_reports(command)
    add_other_commands(command)
    return top


def add_reports(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands that look at runs; `command` makes the parser of one, of its function and a text."""
    one = command(run_list, 'the runs below a folder, the newest first', of_run=False)
    one.add_argument('folder', metavar='FOLDER', nargs='?', default='.', help='default: the current one')

    text = (
        'also how much each hyperparameter matters for the metric at this epoch; without one: at the last that a fifth '
        'of the trials reached (needs optuna and scikit-learn)'
    )
    importance_option: dict[str, Any] = {'nargs': '?', 'const': 0, 'type': int, 'metavar': 'EPOCH', 'help': text}
    one = command(run_report, 'what a run came to, as text')
    one.add_argument('--json', action='store_true', help='everything, for other programs')
    one.add_argument('--failures', action='store_true', help='each kind of failure, with its trials and a traceback')
    one.add_argument('--importance', **importance_option)
    one = command(run_plot, 'pictures of a run, or a page for the browser')
    one.add_argument(
        '-o', '--output', help='a file, .png or .svg (needs matplotlib), or .html; default: NAME_OF_RUN.png'
    )
    one.add_argument('--html', action='store_true', help='one page that opens offline; default: NAME_OF_RUN.html')
    one.add_argument('--importance', **importance_option)
    one = command(run_watch, 'the page of a run on localhost, refreshed while the run goes on')
    one.add_argument('--port', type=int, default=8008, help='default: 8008, or a free one if that is taken')
    one = command(run_compare, 'several runs side by side', nargs='+')
    one.add_argument('-o', '--output', help='also draw them into a file, .png or .svg (needs matplotlib)')
    one = command(run_explain, 'why DyHPO trained what it trained: one decision, and what it was weighed against')
    one.add_argument('--step', type=int, help='which decision, from 1; default: the last one of the optimizer')
    one.add_argument('-o', '--output', help='also draw it into a file, .png or .svg (needs matplotlib)')
    one = command(run_export, 'a run in the format of another tool')
    one.add_argument('--to', required=True, choices=FORMATS, help='the format')
    text = (
        'a file; for optuna also the URL of a storage; default: stdout where it is text, else a file named as the run'
    )
    one.add_argument('-o', '--output', help=text)


def add_other_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands that go on with a run, talk to it, take its decisions again, or need none."""
    one = command(run_resume, 'go on with a run where it stopped')
    add_resume_options(one)
    text = "the budget in all, what was spent included, in place of the run's own"
    one.add_argument('--max-budget', type=run_command.amount, metavar='N', help=text)
    one.add_argument('--target', type=float, metavar='METRIC', help='a metric that ends the race')
    one = command(run_finish, 'train the most promising trials of a run to the end, after the race')
    add_resume_options(one)
    one.add_argument('--top', type=int, default=3, metavar='N', help='how many; default: 3')
    command(run_replay, 'take every decision of a run again, offline, and compare')
    one = command(run_check_executor, 'make the calls of a race on an executor, and say what fails', of_run=False)
    one.add_argument('executor', metavar='MODULE:NAME', help='an executor, or what makes one; or FILE.py:NAME')
    one.add_argument('--num-workers', type=int, default=2, metavar='N', help='calls at a time; default: 2')
    one.add_argument('--folder', help='one that workers and this process see; default: a temporary one')
    one.add_argument('--kill', action='store_true', help='also let a worker die; some executors are broken then')
    one.add_argument('--seconds', type=float, default=60, help='to wait for a call; default: 60')
    talk_command.add_commands(command)
    one = command(run_vendor, 'copy hpo4dl into a code base', of_run=False)
    one.add_argument('destination', metavar='DEST', help='a folder; the copy is DEST/hpo4dl')
    one.add_argument('--core', action='store_true', help='only what tunes and resumes: no report, plots, integrations')


def add_resume_options(command: argparse.ArgumentParser) -> None:
    """Add the arguments of commands that make calls."""
    add = command.add_argument
    text = 'the objective function; or FILE.py:FUNCTION. Runs of `hpo4dl run` need none'
    add('objective', nargs='?', metavar='MODULE:FUNCTION', help=text)
    add('--time-limit', type=float, metavar='SECONDS', help='start no call that would end later than that')
    add('--executor', metavar='MODULE:NAME', help='where calls are made: an executor, or what makes one')
    add('--num-workers', type=int, metavar='N', help='calls at a time; without --executor in processes of this machine')
    add('--retry', type=int, metavar='N', help='how often a call that failed is made again')
    add('--take-over', action='store_true', help='go on past the lock of a tuner elsewhere that is known to be dead')
    add('--salvage', action='store_true', help='of a damaged run, go on from what is whole')


def run_list(options: argparse.Namespace) -> None:
    """`list [FOLDER]`."""
    runs = []
    for folder in runs_below(Path(options.folder)):
        with suppress(HPO4DLError):  # of a journal that another hpo4dl wrote
            runs.append(read_run(folder))
    if not runs:
        folder = Path(options.folder)
        raise JournalError(f'{folder.absolute()}: {instead(folder, [])}')
    print(list_text(runs, width()))


def run_report(options: argparse.Namespace) -> None:
    """`report RUN [--json] [--failures] [--importance]`."""
    run, wanted = read_run(options.run), options.importance
    found = None if wanted is None else importance(run, wanted or None)
    if options.json:
        content = to_json(run)
        if found is not None:
            content['importance'] = vars(found)
        print(json.dumps(content))
        return
    print(report_text(run, width=width(), tracebacks=options.failures))
    for name, value in run.environment.items():
        print(f'         {escape(name):20} {escape(value)}')
    if found:
        print(f'\n{importance_text(found)}')


def run_plot(options: argparse.Namespace) -> None:
    """`plot RUN [-o FILE] [--html] [--importance]`."""
    run = read_run(options.run)
    output = Path(options.output or run.name + ('.html' if options.html else '.png'))
    found = None if options.importance is None else importance(run, options.importance or None)
    if options.html or output.suffix == '.html':
        from ..analysis.page import page

        write_output(output, page(run, importance=found))
    else:
        from ..analysis.plots import draw, save

        save(draw(run, found), output)
    print(escape(output))


def run_watch(options: argparse.Namespace) -> None:
    """`watch RUN [--port N]`."""
    from ..analysis.page import watch

    watch(options.run, options.port)


def run_compare(options: argparse.Namespace) -> None:
    """`compare RUN RUN... [-o FILE]`."""
    runs = [read_run(folder) for folder in options.run]
    print(comparison_text(runs, width()))
    if options.output:
        from ..analysis.plots import draw_comparison, save

        save(draw_comparison(runs), Path(options.output))
        print(escape(options.output))


def run_explain(options: argparse.Namespace) -> None:
    """`explain RUN [--step N] [-o FILE]`."""
    from ..analysis.explain import explain, explanation_text

    explained = explain(options.run, options.step)
    print(explanation_text(explained, width()))
    if options.output:
        from ..analysis.plots import draw_explanation, save

        save(draw_explanation(explained, read_run(options.run)), Path(options.output))
        print(escape(options.output))


def run_export(options: argparse.Namespace) -> None:
    """`export RUN --to FORMAT [-o FILE]`."""
    run = read_run(options.run)
    output = options.output or (run.name + ENDINGS[options.to] if options.to in ENDINGS else None)
    text = export(run, options.to, output)
    if text is not None:  # a terminal gets no control characters; a file gets what -o would write
        sys.stdout.write('\n'.join(map(escape, text.split('\n'))) if sys.stdout.isatty() else text)
    else:
        print(escape(output))


def run_resume(options: argparse.Namespace) -> None:
    """`resume RUN MODULE:FUNCTION`."""
    resumed(options, max_budget=options.max_budget, target=options.target).run()


def run_finish(options: argparse.Namespace) -> None:
    """`finish RUN MODULE:FUNCTION [--top N]`."""
    resumed(options).finish(options.top)


def resumed(options: argparse.Namespace, **more: Any) -> Tuner:
    """Return the tuner that goes on with a run."""
    from ..tuner import Tuner

    if options.objective is None:
        objective, workers = run_command.stored_command(options.run)
        print('$', escape(' '.join(objective.command)))
    else:
        objective, workers = imported('objective', options.objective), {}
    if options.executor:
        workers = {'executor': imported('executor', options.executor)}
    if options.num_workers is not None:
        workers = {**workers, 'num_workers': options.num_workers}
    more |= {name: getattr(options, name) for name in ('time_limit', 'retry', 'take_over', 'salvage')}
    return Tuner.resume(options.run, objective, **more, **workers)


def run_replay(options: argparse.Namespace) -> None:
    """`replay RUN`."""
    from ..analysis.replay import replay

    print(f'{replay(options.run)} decisions were taken again: all are those of the run')


def run_check_executor(options: argparse.Namespace) -> None:
    """`check-executor MODULE:NAME`; an error if a check fails."""
    from .executor_check import check_executor

    executor = imported('executor', options.executor)
    checks = check_executor(executor, options.num_workers, options.folder, options.kill, options.seconds)
    failed = sum(check.problem is not None for check in checks)
    if failed:
        raise HPO4DLError(f'{failed} of {len(checks)} checks failed')


def run_vendor(options: argparse.Namespace) -> None:
    """`vendor DEST [--core]`."""
    from .vendor import vendor

    print(vendor(Path(options.destination), options.core))


def imported(argument: str, name: str) -> Any:
    """Return the object called MODULE:NAME or FILE.py:NAME; modules in the current folder are found too.

    Raises:
        ArgumentError: there is none.
        HPO4DLError: the module makes a Tuner while it is imported.
    """
    module, _, attribute = name.partition(':')
    folder = os.getcwd()
    if module.endswith('.py'):  # workers import it by its name, so it is one of its folder's modules here, too
        folder, module = os.path.dirname(os.path.abspath(module)), os.path.basename(module).removesuffix('.py')
    sys.path.insert(0, folder)
    token = IMPORTING.set(True)
    try:
        if not module or not attribute:
            raise ValueError('there is no NAME after a colon')
        return pkgutil.resolve_name(f'{module}:{attribute}')
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(argument, name, f'MODULE:NAME or FILE.py:NAME of what is there ({error})') from error
    finally:
        IMPORTING.reset(token)


def width() -> int:
    """Return the width of lines: the terminal's; where nobody looks on, wide enough for most configurations."""
    return shutil.get_terminal_size((120, 24)).columns


def version() -> str:
    """Return the version of this copy of the package."""
    return str(sys.modules[str(__package__).rpartition('.')[0]].__version__)
