"""What a decision takes after so many observations, beside hpo4dl 0.1.0: processor time on one core.

    python examples/benchmarks/overhead.py [--data FOLDER] [--observations 500 1000 2000] [--tuners dyhpo hpo4dl-0.1.0]

A race of 2000 epochs would take hpo4dl 0.1.0 hours. So each tuner is told the curves of random configurations, trained
to random epochs, until it has so many observations. From there on, each decision is timed together with the tell of its
result. Ours is timed over 50 decisions, in which it is fitted as often as it ever is; hpo4dl 0.1.0 over 3, in each of
which it refines its fit.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import peers
import problems
from compare import call, interpreters, last_line, one_thread, say

DECISIONS = {'dyhpo': 50, 'hpo4dl-0.1.0': 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, help='folder with lcbench/ and taskset/; default: synthetic problems')
    parser.add_argument('--problem', help='default: lcbench-3945, or synthetic-0 without data')
    parser.add_argument('--observations', nargs='+', type=int, default=[500, 1000, 2000])
    parser.add_argument('--tuners', nargs='+', default=list(DECISIONS), choices=DECISIONS, metavar='TUNER')
    parser.add_argument('--venvs', type=Path, default=Path('benchmark/venvs'), help='default: benchmark/venvs')
    options = parser.parse_args()
    one_thread()
    problem = options.problem or ('lcbench-3945' if options.data else 'synthetic-0')
    pythons = interpreters(options.tuners, options.venvs.resolve())
    print('| tuner | observations | ms a decision | MB |\n|---|---|---|---|')
    for n in options.observations:
        for tuner, python in pythons.items():
            words = [tuner, problem, str(n), *([str(options.data.resolve())] if options.data else [])]
            script = 'import overhead, sys; overhead.measure(*sys.argv[1:])'
            with tempfile.TemporaryDirectory() as scratch:  # what libraries write to the working directory
                try:
                    print(last_line(call([python or sys.executable, '-c', script, *words], scratch)), flush=True)
                except subprocess.CalledProcessError as error:
                    say(f'{tuner} failed: {last_line(error.stderr)}')


def measure(tuner: str, problem: str, n: str, data: str = '') -> None:
    """Print a line of the table."""
    loaded = problems.load(problem, Path(data) if data else None)
    rng, lengths, left = np.random.default_rng(0), [], int(n)
    while left:
        lengths.append(min(int(rng.integers(1, loaded.max_epochs + 1)), left))
        left -= lengths[-1]
    step = importlib.import_module(f'peers.{peers.TUNERS[tuner]}').after(loaded, lengths)
    begin = time.process_time()
    for _ in range(DECISIONS[tuner]):
        step()
    milliseconds = 1000 * (time.process_time() - begin) / DECISIONS[tuner]
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f'| {tuner} | {n} | {milliseconds:.1f} | {megabytes:.0f} |')


if __name__ == '__main__':
    main()
