"""Race our optimizers with many workers in simulated time, on curves whose epochs have a known duration.

    python examples/benchmarks/scaling.py [--data FOLDER] [--tuners dyhpo asha] [--workers 1 16] [--epoch-seconds 10]

Nothing sleeps: events lie in a heap, and an epoch takes the time that the benchmark gives it. One decider, with one
thread, asks and tells as `hpo4dl.Tuner` does; the processor time that this takes is measured, and passes on the
simulated clock too, so that workers wait where decisions are slow.

Every race leaves one file below OUTPUT/runs and is not run again while that file lies there: the same command, called
again, goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import heapq
import importlib
import json
import math
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import peers
import problems
from compare import call, chosen, interpreters, last_line, one_thread, race, say
from standings import COLORS, LEAST, by_kind, lines, mean_and_error

TUNERS = [tuner for tuner, module in peers.TUNERS.items() if module == 'ours' or tuner == 'syne-asha']
MARKS = (1 / 64, 1 / 16, 1 / 4, 1)
"""Times at which regrets are reported, in serial races: 1 is what EPOCHS epochs of average length take one worker."""

LINES = ('-', '--', ':')


class Job(NamedTuple):
    tuner: str
    problem: str
    seed: int
    workers: int
    epochs: int
    seconds: float | None
    """That each epoch takes; None: as the benchmark says."""
    file: Path
    data: Path | None
    python: str | None
    """The interpreter that has the peer; None for our own."""

    def __str__(self) -> str:
        return f'{self.tuner} with {self.workers} workers on {self.problem}, seed {self.seed}'


Runs = dict[str, dict[tuple[str, int], dict[str, Any]]]
"""Records of races, by 'tuner, workers', then by problem and seed."""


def simulate(
    optimizer: Any,
    workers: int,
    epochs: int,
    curve: Callable[[dict[str, Any]], np.ndarray],
    seconds: Callable[[dict[str, Any]], np.ndarray],
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Any]:
    """A race of so many workers, until so many epochs are trained; the last step is cut to fit.

    Args:
        curve, seconds: from a configuration to the values of its epochs, and to how long each takes.
        clock: what is read before and after each ask and tell. Default the processor time of this process, which no
            other process on the machine disturbs.

    Returns:
        steps: (trial, previous epoch, epoch, begin, end) in the order of their starts, in simulated seconds.
        times, values: of each epoch, in the order of their ends.
        utilization: share of the workers' time spent training, until the last step starts.
        decisions, decider: how many steps were asked for, and the seconds that asks and tells took.
    """
    now = decider = 0.0
    steps: list[tuple[int, int, int, float, float]] = []
    ends: list[tuple[float, float]] = []
    running: list[tuple[float, int, Any, np.ndarray]] = []  # a heap, by the time of the end
    spent = 0

    def take(decide: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal now, decider
        begin = clock()
        result = decide(*arguments)
        took = clock() - begin
        now, decider = now + took, decider + took
        return result

    while True:
        while len(running) < workers and spent < epochs and (trial := take(optimizer.ask)) is not None:
            epoch = min(trial.epoch, trial.previous_epoch + epochs - spent)
            new = slice(trial.previous_epoch, epoch)
            passed, values = np.cumsum(seconds(trial.configuration)[new]), curve(trial.configuration)[new]
            spent += len(values)
            ends += zip((now + passed).tolist(), values.tolist())
            heapq.heappush(running, (now + passed[-1], len(steps), trial, values))
            steps.append((trial.id, trial.previous_epoch, epoch, now, now + passed[-1]))
        if not running:
            break
        now = max(now, running[0][0])
        due = now
        while running and running[0][0] <= due:  # all that have ended are told before the next is asked for
            _, _, trial, values = heapq.heappop(running)
            take(optimizer.tell, trial, values.tolist())
    last = steps[-1][3] or max(end for *_, end in steps)
    busy = sum(max(0.0, min(end, last) - begin) for *_, begin, end in steps)
    times, values = zip(*sorted(ends, key=lambda end: end[0]))
    return {
        'steps': steps,
        'times': times,
        'values': values,
        'utilization': busy / (workers * last),
        'decisions': len(steps),
        'decider': decider,
    }


def run(job: Job) -> str | None:
    """One race, here or by the peer's interpreter. Returns why it failed, if it did."""
    try:
        if job.python is not None:
            words = [*job[:5], job.seconds or '', job.file, job.data or '']
            call([job.python, '-c', 'import scaling, sys; scaling.by_words(*sys.argv[1:])', *map(str, words)])
            return None
        problem = problems.load(job.problem, job.data)
        seconds = problem.cost
        if job.seconds is not None:
            seconds = lambda configuration: np.full(problem.max_epochs, job.seconds)  # noqa: E731
        if seconds is None:
            return 'the benchmark does not say how long an epoch takes: --epoch-seconds SECONDS'
        module = importlib.import_module(f'peers.{peers.TUNERS[job.tuner]}')
        optimizer = module.ask_and_tell(job.tuner, problem, job.seed)
        record = simulate(optimizer, job.workers, job.epochs, problem.curve, seconds)
        record['regret'] = problem.regret(np.array(record['values'])).tolist()
        average = problem.full_cost / problem.max_epochs if job.seconds is None else job.seconds
        peers.write({**record, 'epoch_seconds': average}, job.file)
    except subprocess.CalledProcessError as error:
        return last_line(error.stderr)
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return None


def by_words(tuner: str, problem: str, *words: str) -> None:
    """`run`, as a peer's interpreter is told to."""
    seed, workers, epochs = map(int, words[:3])
    seconds, file, data = words[3:]
    each, folder = float(seconds) if seconds else None, Path(data) if data else None
    if failure := run(Job(tuner, problem, seed, workers, epochs, each, Path(file), folder, None)):
        raise SystemExit(failure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, help='folder with lcbench/ and taskset/; default: synthetic problems')
    parser.add_argument(
        '--problems', nargs='+', help='names, or beginnings of names; default: lcbench-easy or synthetic'
    )
    parser.add_argument('--tuners', nargs='+', default=['dyhpo', 'asha'], choices=TUNERS, metavar='TUNER')
    parser.add_argument('--workers', nargs='+', type=int, default=[1, 4, 16, 64, 256])
    parser.add_argument('--seeds', type=int, default=1, help='races on a problem; default 1')
    parser.add_argument('--epochs', type=int, default=500, help='of one worker; N train sqrt(N) times as many')
    parser.add_argument('--epoch-seconds', type=float, help='that each epoch takes; default: as the benchmark says')
    parser.add_argument('--processes', type=int, default=2, help='races at a time; default 2')
    parser.add_argument('--output', type=Path, default=Path('scaling'), help='default: scaling')
    parser.add_argument('--venvs', type=Path, help='default: OUTPUT/venvs')
    options = parser.parse_args(arguments)
    data = options.data and options.data.resolve()
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    one_thread()

    suites = None if options.problems else ['lcbench-easy' if data else 'synthetic']
    each = options.epoch_seconds
    clock = 'own' if each is None else f'{each:g}s'
    pythons = interpreters(options.tuners, (options.venvs or output / 'venvs').resolve())
    wanted = [
        Job(tuner, problem, seed, workers, epochs, each,
            output / 'runs' / problem / f'{tuner}-{seed}-{workers}-{epochs}-{clock}.json', data, pythons[tuner])
        for seed in range(options.seeds)
        for problem in chosen(suites, options.problems, data)
        for workers in options.workers
        for epochs in [round(options.epochs * math.sqrt(workers))]
        for tuner in options.tuners
        if tuner in pythons
    ]  # fmt: skip
    race([job for job in wanted if not job.file.exists()], options.processes, run)
    runs: Runs = {}
    for job in sorted(wanted, key=lambda job: (options.tuners.index(job.tuner), job.workers)):
        if job.file.exists():
            runs.setdefault(f'{job.tuner}, {job.workers}', {})[job.problem, job.seed] = read(job.file, options.epochs)
    text = table(runs)
    (output / f'table-{clock}.md').write_text(text, encoding='utf-8')
    print(text, end='')
    plot(runs, output / f'plot-{clock}.png')


def read(file: Path, epochs: int) -> dict[str, Any]:
    """A record, its times as shares of a serial race: of `epochs` epochs of average length."""
    record = json.loads(file.read_text())
    return {**record, 'times': np.array(record['times']) / (epochs * record['epoch_seconds'])}


def regret_at(record: dict[str, Any], t: np.ndarray) -> np.ndarray:
    """(m,) regrets at times t (m,); a race that is over stays where it ended."""
    return np.array([1.0, *record['regret']])[np.searchsorted(record['times'], t, side='right')]


def first_at(times: np.ndarray, regret: np.ndarray, target: float) -> float:
    """The first time that regret, which never rises, is at the target; infinite where it never is."""
    return float(np.array([*times, math.inf])[np.searchsorted(-np.asarray(regret), -target)])


def table(runs: Runs) -> str:
    """Markdown: for each kind of problem, how busy workers are and how regret falls, as mean ± standard error."""
    text, grid = '', np.geomspace(1e-4, 10, 2000)
    for kind, (rows, races) in by_kind(runs).items():
        names = [problem for problem, _ in races]
        text += f'### {kind}: {len(set(names))} problems, {len(races)} races that all finished\n\n'
        if not races:
            continue
        serial = [runs[rows[0]][race] for race in races]
        curves = [np.array([regret_at(runs[row][race], grid) for race in races]) for row in rows]
        mean = [mean_and_error(curve, names)[0] for curve in curves]
        cells = []
        for row, curve in zip(rows, mean):
            records = [runs[row][race] for race in races]
            columns = [
                [100 * r['utilization'], r['decisions'] / r['decider'], *regret_at(r, np.array(MARKS))] for r in records
            ]
            value, error = mean_and_error(np.array(columns), names)
            of_mean = first_at(grid, mean[0], mean[0][-1]) / first_at(grid, curve, mean[0][-1])
            of_each = np.median([
                first_at(s['times'], s['regret'], s['regret'][-1]) / first_at(r['times'], r['regret'], s['regret'][-1])
                for s, r in zip(serial, records)
            ])  # fmt: skip
            cells.append((np.append(value, [of_mean, of_each]), np.append(error, [np.nan] * 2)))
        heads = ['% busy', 'decisions a second', *(f'regret at {mark:.3g}' for mark in MARKS)]
        told = [[f'{m:.3g}' if np.isnan(e) else f'{m:.3g} ± {e:.2g}' for m, e in zip(*cell)] for cell in cells]
        columns = [list(column) for column in zip(*told)]
        text += lines(rows, [*heads, 'speed-up of the mean', 'median speed-up'], columns, 'tuner, workers')
    return text


def plot(runs: Runs, file: Path) -> None:
    """For each kind of problem: mean regret over simulated time, and how busy the workers are."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return say('no plot: matplotlib is not installed')
    shown = {kind: found for kind, found in by_kind(runs).items() if found[1]}
    figure = Figure(figsize=(12, 4.5 * len(shown) + 0.7), layout='constrained')
    tuners = list(dict.fromkeys(row.split(', ')[0] for row in runs))
    counts = sorted({int(row.split(', ')[1]) for row in runs})
    for i, (kind, (rows, races)) in enumerate(shown.items()):
        names = [problem for problem, _ in races]
        left, right = (figure.add_subplot(len(shown), 2, 2 * i + k, xscale='log') for k in (1, 2))
        for row in rows:
            tuner, workers = row.split(', ')
            records = [runs[row][race] for race in races]
            grid = np.geomspace(1e-3, max(r['times'][-1] for r in records), 300)
            regret = mean_and_error(np.array([regret_at(r, grid) for r in records]), names)[0]
            color, line = COLORS[counts.index(int(workers)) % 7], LINES[tuners.index(tuner) % 3]
            left.plot(grid, np.maximum(regret, LEAST), label=row, color=color, linestyle=line)
        for tuner in tuners:
            of = [n for n in counts if f'{tuner}, {n}' in rows]
            busy = [100 * np.mean([runs[f'{tuner}, {n}'][race]['utilization'] for race in races]) for n in of]
            right.plot(of, busy, 'ko', linestyle=LINES[tuners.index(tuner) % 3], label=tuner)
        left.set(yscale='log', xlabel='time, in serial races', ylabel='normalized regret', title=f'{kind}, mean')
        right.set(xlabel='workers', ylabel='% of the time that workers train', title='utilization', ylim=(0, 105))
        right.set_xticks(counts, map(str, counts))
        right.minorticks_off()
        right.legend(frameon=False)
    figure.legend(*left.get_legend_handles_labels(), loc='outside lower center', ncols=6, frameon=False)
    figure.savefig(file, dpi=120)


if __name__ == '__main__':
    main()
