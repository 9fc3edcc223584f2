"""Race our optimizers and their peers, epoch by epoch, on curves that are known; one table and one plot.

    python examples/benchmarks/compare.py [--data FOLDER] [--problems lcbench taskset] [--tuners dyhpo asha optuna]

Every race leaves one file below OUTPUT/runs and is not run again while that file lies there: the same command, called
again, goes on where it was interrupted. Peers live in virtual environments of their own, below OUTPUT/venvs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
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

import numpy as np
import peers
import problems
from scipy.stats import rankdata

HERE = Path(__file__).resolve().parent
MARKS = (25, 50, 100, 200, 300, 500)
"""Epochs at which regrets and ranks are reported."""
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
"""Okabe and Ito's palette, which color-blind readers can tell apart; tuners that share a color differ by line style."""

COMPARED = [tuner for tuner, module in peers.TUNERS.items() if module != 'ablations']
"""Tuners that are compared by default."""
LEAST = 1e-3
"""Floor of the regrets that are plotted, on a logarithmic axis."""


class Job(NamedTuple):
    tuner: str
    problem: str
    seed: int
    epochs: int
    file: Path
    data: Path | None
    python: str | None
    """The interpreter that has the peer; None for our own."""

    def __str__(self) -> str:
        return f'{self.tuner} on {self.problem}, seed {self.seed}'


Runs = dict[str, dict[tuple[str, int], dict[str, Any]]]
"""Records of races, by tuner, then by problem and seed."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, help='folder with lcbench/ and taskset/; default: synthetic problems')
    parser.add_argument('--problems', nargs='+', default=[''], help='names, or beginnings of names; default: all')
    parser.add_argument('--tuners', nargs='+', default=COMPARED, choices=peers.TUNERS, metavar='TUNER')
    parser.add_argument('--seeds', type=int, default=3, help='races of a tuner on a problem; default 3')
    parser.add_argument('--epochs', type=int, default=500, help='epochs of a race; default 500')
    parser.add_argument('--workers', type=int, default=2, help='processes, one a core; default 2')
    parser.add_argument('--output', type=Path, default=Path('benchmark'), help='default: benchmark')
    parser.add_argument('--venvs', type=Path, help='default: OUTPUT/venvs')
    options = parser.parse_args(arguments)
    data = options.data and options.data.resolve()
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    one_thread()

    pythons = interpreters(options.tuners, (options.venvs or output / 'venvs').resolve())
    wanted = [
        Job(tuner, problem, seed, options.epochs, output / 'runs' / problem / f'{tuner}-{seed}-{options.epochs}.json',
            data, pythons[tuner])
        for seed in range(options.seeds)
        for problem in chosen(options.problems, data)
        for tuner in options.tuners
        if tuner in pythons
    ]  # fmt: skip
    race([job for job in wanted if not job.file.exists()], options.workers, run)
    runs: Runs = {}
    for job in wanted:
        if job.file.exists():
            runs.setdefault(job.tuner, {})[job.problem, job.seed] = json.loads(job.file.read_text())
    text = table(runs, options.epochs)
    (output / 'table.md').write_text(text, encoding='utf-8')
    print(text, end='')
    plot(runs, options.epochs, output / 'plot.png')


def one_thread() -> None:
    """Let the processes started from now on compute with one thread each."""
    os.environ.update({f'{library}_NUM_THREADS': '1' for library in ('OMP', 'OPENBLAS', 'MKL')})


def chosen(names: Sequence[str], data: Path | None) -> list[str]:
    """The problems of these names, or whose names begin so."""
    known = problems.names(data)
    return list(dict.fromkeys(found for n in names for found in [k for k in known if k.startswith(n)] or [n]))


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
            words = [job.tuner, job.problem, job.seed, job.epochs, job.file, *([job.data] if job.data else [])]
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


def by_kind(runs: Runs) -> dict[str, tuple[list[str], list[tuple[str, int]]]]:
    """For each kind of problem, its tuners and the (problem, seed) that all of these finished."""
    kinds: dict[str, tuple[list[str], list[tuple[str, int]]]] = {}
    for kind in dict.fromkeys(problem.partition('-')[0] for of_tuner in runs.values() for problem, _ in of_tuner):
        raced = {tuner: [race for race in runs[tuner] if race[0].startswith(f'{kind}-')] for tuner in runs}
        tuners = [tuner for tuner in runs if raced[tuner]]
        kinds[kind] = tuners, [race for race in raced[tuners[0]] if all(race in raced[tuner] for tuner in tuners)]
    return kinds


def mean_and_error(values: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean over problems and its standard error.

    A problem counts once: by the mean of its seeds. With a single problem the error is that over seeds.

    Args:
        values: (races, ...).
        names: the problem of each race.
    """
    if len(set(names)) > 1:
        values = np.array([values[[name == each for each in names]].mean(axis=0) for name in dict.fromkeys(names)])
    n = len(values)
    error = values.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full(values.shape[1:], np.nan)
    return values.mean(axis=0), error


def table(runs: Runs, epochs: int) -> str:
    """Markdown: for each kind of problem, regrets and overhead, then ranks, as mean ± standard error."""
    marks = [mark for mark in MARKS if mark <= epochs]
    text = ''
    for kind, (tuners, races) in by_kind(runs).items():
        names = [problem for problem, _ in races]
        text += f'### {kind}: {len(set(names))} problems, {len(races)} races that every tuner finished\n\n'
        if not races:
            continue
        regret = np.array([[runs[tuner][race]['regret'] for race in races] for tuner in tuners])
        at_marks = regret[:, :, np.array(marks) - 1]
        seconds = [[runs[tuner][race]['seconds'] for race in races] for tuner in tuners]
        overhead = np.array([[[1000 * np.mean(s or np.nan), np.sum(s)] for s in row] for row in seconds])
        columns = np.concatenate([at_marks, regret.mean(axis=2, keepdims=True), overhead], axis=2)
        heads = [*(f'regret at {mark}' for mark in marks), 'AUC', 'ms a decision', 's a race']
        text += markdown(tuners, heads, [mean_and_error(rows, names) for rows in columns])
        ranks = rankdata(at_marks, axis=0)
        text += markdown(tuners, [f'rank at {mark}' for mark in marks], [mean_and_error(r, names) for r in ranks])
    return text


def markdown(rows: list[str], heads: list[str], cells: list[tuple[np.ndarray, np.ndarray]], of: str = 'tuner') -> str:
    lines = [f'| {of} | {" | ".join(heads)} |', '|---' * (len(heads) + 1) + '|']
    for row, (mean, error) in zip(rows, cells):
        told = [f'{m:.3g}' if np.isnan(e) else f'{m:.3g} ± {e:.2g}' for m, e in zip(mean, error)]
        lines.append(f'| {row} | {" | ".join(told)} |')
    return '\n'.join(lines) + '\n\n'


def plot(runs: Runs, epochs: int, file: Path) -> None:
    """For each kind of problem: regret over epochs, mean ± standard error; then overhead over observations."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullFormatter
    except ImportError:
        return say('no plot: matplotlib is not installed')
    shown = {kind: found for kind, found in by_kind(runs).items() if found[1]}
    styles = {
        tuner: {'color': COLORS[i % 7], 'linestyle': ('-', '--', ':')[i // 7 % 3], 'label': tuner}
        for i, tuner in enumerate(peers.TUNERS)
    }
    panels = len(shown) + 1
    figure = Figure(figsize=(12, 4.5 * math.ceil(panels / 2) + 0.7), layout='constrained')
    axes = [figure.add_subplot(math.ceil(panels / 2), 2, i + 1, yscale='log') for i in range(panels)]
    x = np.arange(1, epochs + 1)
    for axis, (kind, (tuners, races)) in zip(axes, shown.items()):
        regret = [np.array([runs[tuner][race]['regret'] for race in races]) for tuner in tuners]
        curves = [mean_and_error(each, [problem for problem, _ in races]) for each in regret]
        for tuner, (mean, _) in zip(tuners, curves):
            axis.plot(x, np.maximum(mean, LEAST), **styles[tuner])
        axis.set_ylim(axis.get_ylim())  # of the means: bands may reach below zero
        for tuner, (mean, error) in zip(tuners, curves):
            low, high = np.maximum(mean - error, LEAST), np.maximum(mean + error, LEAST)
            axis.fill_between(x, low, high, color=styles[tuner]['color'], alpha=0.12, linewidth=0)
        axis.set(xlabel='epochs trained', ylabel='normalized regret', title=f'{kind}, mean ± standard error')
    for tuner, races in runs.items():
        observations = np.concatenate([record['observations'] for record in races.values()])
        milliseconds = 1000 * np.concatenate([record['seconds'] for record in races.values()])
        bins = (observations * 20 // epochs).astype(int)
        used = np.unique(bins)
        means = [milliseconds[bins == each].mean() for each in used]
        axes[-1].plot((used + 0.5) * epochs / 20, means, **styles[tuner])
    axes[-1].set(xlabel='observations', ylabel='ms a decision', title='overhead of decisions')
    for axis in axes:
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter('{x:g}')
        axis.yaxis.set_minor_formatter(NullFormatter())
    figure.legend(*axes[-1].get_legend_handles_labels(), loc='outside lower center', ncols=7, frameon=False)
    figure.savefig(file, dpi=120)


if __name__ == '__main__':
    main()
