"""Race our optimizers and their peers, epoch by epoch, on curves that are known; tables and one plot.

    python examples/benchmarks/compare.py [--data FOLDER] [--suites tables real] [--tuners dyhpo asha optuna]

Every race leaves one file below OUTPUT/runs and is not run again while that file lies there: the same command, called
again, goes on where it was interrupted. Peers live in virtual environments of their own, below OUTPUT/venvs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import peers
import problems
from standings import Axis, Runs, plot, table

HERE = Path(__file__).resolve().parent
BEGIN, END = '<!-- tables of compare.py -->', '<!-- end of the tables -->'
COMPARED = [tuner for tuner, module in peers.TUNERS.items() if module != 'ablations' and tuner != 'dyhpo-cost']
"""Tuners that are compared by default."""
SEEDS = {'tables': 16, 'real': 16}
"""Races of a tuner on a problem, where they are short; else 3."""


class Job(NamedTuple):
    tuner: str
    problem: str
    seed: int
    budget: str
    """As `peers.run` takes it."""
    file: Path
    data: Path | None
    python: str | None
    """The interpreter that has the peer; None for our own."""

    def __str__(self) -> str:
        return f'{self.tuner} on {self.problem}, seed {self.seed}'


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, help='folder with lcbench/, taskset/...; default: synthetic problems')
    parser.add_argument('--suites', nargs='+', help='default: all')
    parser.add_argument('--problems', nargs='+', help='names, or beginnings of names')
    parser.add_argument('--tuners', nargs='+', default=COMPARED, choices=peers.TUNERS, metavar='TUNER')
    parser.add_argument('--seeds', type=int, help='races of a tuner on a problem; default 3, or 16 on tables and real')
    parser.add_argument('--epochs', type=int, default=500, help='epochs of a race; default 500')
    parser.add_argument('--cost', type=int, help='races end after the cost of so many full trainings instead')
    parser.add_argument('--workers', type=int, default=2, help='processes, one a core; default 2; 0: no more races')
    parser.add_argument('--output', type=Path, default=Path('benchmark'), help='default: benchmark')
    parser.add_argument('--venvs', type=Path, help='default: OUTPUT/venvs')
    parser.add_argument('--into', type=Path, help='a document whose tables are replaced, between two lines of comment')
    options = parser.parse_args(arguments)
    data = options.data and options.data.resolve()
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    one_thread()

    venvs = (options.venvs or output / 'venvs').resolve()
    pythons = interpreters(options.tuners, venvs) if options.workers else dict.fromkeys(options.tuners)
    budget = str(options.epochs) if options.cost is None else f'cost{options.cost}'
    found = chosen(options.suites, options.problems, data)
    seeds = {problem: options.seeds or SEEDS.get(problems.suite_of(problem), 3) for problem in found}
    wanted = [
        Job(tuner, problem, seed, budget, output / 'runs' / problem / f'{tuner}-{seed}-{budget}.json', data,
            pythons[tuner])
        for seed in range(max(seeds.values()))
        for problem in found
        if seed < seeds[problem]
        for tuner in options.tuners
        if tuner in pythons
    ]  # fmt: skip
    if options.workers:
        race([job for job in wanted if not job.file.exists()], options.workers, run)
    runs: Runs = {}
    for job in wanted:
        if job.file.exists():
            runs.setdefault(job.tuner, {})[job.problem, job.seed] = json.loads(job.file.read_text())
    axis = Axis(False, options.epochs) if options.cost is None else Axis(True, options.cost)
    text = table(runs, axis)
    (output / 'table.md').write_text(text, encoding='utf-8')
    print(text, end='')
    if options.into:
        put_into(options.into, text)
    if not plot(runs, axis, output / 'plot.png'):
        say('no plot: matplotlib is not installed')


def put_into(file: Path, text: str) -> None:
    """Replace what lies between the lines BEGIN and END of a document."""
    before, begin, rest = file.read_text(encoding='utf-8').partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f'{file} has no lines {BEGIN} and {END}')
    file.write_text(f'{before}{begin}\n\n{text}{end}{after}', encoding='utf-8')


def one_thread() -> None:
    """Let the processes started from now on compute with one thread each."""
    os.environ.update({f'{library}_NUM_THREADS': '1' for library in ('OMP', 'OPENBLAS', 'MKL')})


def chosen(suites: Sequence[str] | None, names: Sequence[str] | None, data: Path | None) -> list[str]:
    """The problems of these suites, and those of these names, or whose names begin so; all, if neither is given."""
    known = problems.suites(data)
    if suites is None:
        suites = [] if names else list(known)
    if unknown := [suite for suite in suites if suite not in known]:
        raise SystemExit(f'no such suite: {", ".join(unknown)}; there are {", ".join(known)}')
    of_suites = [problem for suite in suites for problem in known[suite]]
    of_names = [k for n in names or [] for k in [k for k in problems.names(data) if k.startswith(n)] or [n]]
    return list(dict.fromkeys(of_suites + of_names))


def interpreters(tuners: Sequence[str], venvs: Path) -> dict[str, str | None]:
    """Each tuner's interpreter, in a virtual environment that has it; a tuner that cannot be had is left out."""
    modules: dict[str, str | None] = {}
    for module in dict.fromkeys(peers.TUNERS[tuner] for tuner in tuners):
        requirements = importlib.import_module(f'peers.{module}').REQUIREMENTS
        try:
            modules[module] = install(requirements, venvs / module) if requirements else None
        except subprocess.CalledProcessError as error:
            skipped = ', '.join(tuner for tuner in tuners if peers.TUNERS[tuner] == module)
            say(f'skipped {skipped}: not installed: {last_line(error.stderr)}')
    return {tuner: modules[peers.TUNERS[tuner]] for tuner in tuners if peers.TUNERS[tuner] in modules}


def install(requirements: list[str], venv: Path) -> str:
    """The interpreter of a virtual environment with these requirements, which is made if it does not lie there."""
    python, complete = venv / 'bin' / 'python', venv / 'requirements.txt'
    if not complete.exists() or complete.read_text() != '\n'.join(requirements):
        say(f'installing {" ".join(requirements)}')
        shutil.rmtree(venv, ignore_errors=True)
        call([sys.executable, '-m', 'venv', str(venv)])
        for line in requirements:
            call([str(python), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', *line.split()])
        complete.write_text('\n'.join(requirements))
    return str(python)


def race(jobs: Sequence[Any], workers: int, run: Callable[[Any], str | None]) -> None:
    """`run` the jobs, each in a process of its own; report those that fail, with the reason that `run` returned."""
    context = multiprocessing.get_context('spawn')
    pool = ProcessPoolExecutor(workers, mp_context=context)
    try:
        running = {pool.submit(run, job): job for job in jobs}
        for done, future in enumerate(as_completed(running), 1):
            job, failure = running[future], future.result()
            outcome = f': failed: {failure}' if failure else ''
            say(f'{done}/{len(jobs)} {job}{outcome}')
    finally:
        pool.shutdown(cancel_futures=True)


def run(job: Job) -> str | None:
    """One race, here or by the peer's interpreter. Returns why it failed, if it did."""
    try:
        if job.python is None:
            peers.run(*job[:6])
            return None
        with tempfile.TemporaryDirectory() as scratch:  # what libraries write to the working directory
            words = [job.tuner, job.problem, job.seed, job.budget, job.file, *([job.data] if job.data else [])]
            call([job.python, '-m', 'peers', *map(str, words)], cwd=scratch)
    except subprocess.CalledProcessError as error:
        return last_line(error.stderr)
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return None


def call(command: list[str], cwd: str | None = None) -> str:
    """Run a command and return its output."""
    environment = {**os.environ, 'PYTHONPATH': str(HERE)}
    return subprocess.run(command, cwd=cwd, env=environment, check=True, capture_output=True, text=True).stdout


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ['no word'])[-1]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == '__main__':
    main()
