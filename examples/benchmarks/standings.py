"""The outcome of races: tables in Markdown and a plot.

A record of a race has `regret` after each of its epochs; where they are known, `cost`, what was spent until then in
full trainings of mean cost, and `test`, the incumbent's regret by an independent metric. `ended` is whether the tuner
came to an end by itself. For each decision there are its `seconds`, and the `observations` at that time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import peers
import problems
from scipy.stats import rankdata

COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
"""Okabe and Ito's palette, which color-blind readers can tell apart; tuners that share a color differ by line style."""
LEAST = 1e-3
"""Floor of the regrets that are plotted, on a logarithmic axis."""
FEW = 4
"""With fewer problems, errors are over races."""

Race = tuple[str, int]
"""Problem and seed."""
Runs = dict[str, dict[Race, dict[str, Any]]]
"""Records of races, by tuner, then by problem and seed."""


class Axis(NamedTuple):
    """What is spent in a race: epochs, or full trainings of mean cost."""

    costs: bool
    end: float

    @property
    def marks(self) -> list[int]:
        """Where regrets are reported."""
        return [mark for mark in ((2, 4, 8, 16) if self.costs else (25, 50, 100, 200, 300, 500)) if mark <= self.end]

    @property
    def grid(self) -> np.ndarray:
        """Where regrets are averaged, to the area under the curve: each epoch, or a thousand equal shares of a cost."""
        return (np.arange(1000) + 0.5) * self.end / 1000 if self.costs else np.arange(1.0, self.end + 1)

    def at(self, record: dict[str, Any], t: Any, of: str = 'regret') -> np.ndarray:
        """(m,) regrets after t (m,) were spent: 1 before the first epoch ends, NaN where a race did not come so far.

        A tuner that came to an end by itself finds nothing more.
        """
        spent = np.array(record['cost']) if self.costs else np.arange(1.0, len(record[of]) + 1)
        values = np.array([1.0, *record[of]])[np.searchsorted(spent, t, side='right')]
        return np.where((np.asarray(t) > spent[-1]) & (not record['ended']), np.nan, values)

    def auc(self, record: dict[str, Any], of: str = 'regret') -> float:
        return float(np.mean(self.at(record, self.grid, of)))


class Block(NamedTuple):
    """Tuners that finished the same races of a suite."""

    suite: str
    tuners: list[str]
    races: list[Race]


def by_kind(runs: Runs) -> dict[str, tuple[list[str], list[Race]]]:
    """For each suite, its tuners and the (problem, seed) that all of these finished."""
    kinds: dict[str, tuple[list[str], list[Race]]] = {}
    for suite in dict.fromkeys(problems.suite_of(problem) for of_tuner in runs.values() for problem, _ in of_tuner):
        raced = {tuner: [race for race in runs[tuner] if problems.suite_of(race[0]) == suite] for tuner in runs}
        tuners = [tuner for tuner in runs if raced[tuner]]
        kinds[suite] = tuners, [race for race in raced[tuners[0]] if all(race in raced[tuner] for tuner in tuners)]
    return kinds


def blocks(runs: Runs) -> list[Block]:
    """For each suite, the tuners that finished every race of it; then the others, by what they finished, each with the
    first of these."""
    found = []
    for suite, (tuners, _) in by_kind(runs).items():
        raced = {t: {race for race in runs[t] if problems.suite_of(race[0]) == suite} for t in tuners}
        every = set().union(*raced.values())
        complete = [tuner for tuner in tuners if raced[tuner] == every]
        groups = {frozenset(raced[t]): complete[:1] for t in tuners if t not in complete}
        groups = {races: [*first, *(t for t in tuners if raced[t] == races)] for races, first in groups.items()}
        if complete:
            groups = {frozenset(every): complete, **groups}
        found += [Block(suite, of_group, sorted(races)) for races, of_group in groups.items()]
    return found


def mean_and_error(values: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean over problems and its standard error.

    A problem counts once: by the mean of its seeds. With fewer than FEW problems, the error is that over races.

    Args:
        values: (races, ...).
        names: the problem of each race.
    """
    means = np.array([values[[name == each for each in names]].mean(axis=0) for name in dict.fromkeys(names)])
    drawn = means if len(means) >= FEW else values
    n = len(drawn)
    error = drawn.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full(values.shape[1:], np.nan)
    return means.mean(axis=0), error


def is_peer(tuner: str) -> bool:
    """Whether DyHPO is compared with it: it is neither DyHPO nor a part of it."""
    return not tuner.startswith('dyhpo') and peers.TUNERS.get(tuner) != 'ablations'


def table(runs: Runs, axis: Axis) -> str:
    """Markdown: one line a suite; then, for each suite, regrets and overhead, regrets over cost, paired differences."""
    found = blocks(runs)
    text = overview(runs, axis, found)
    for block in found:
        names = [problem for problem, _ in block.races]
        text += f'### {block.suite}: {len(set(names))} problems, {len(block.races)} races\n\n'
        text += regrets(runs, axis, block, overheads=True)
        if not axis.costs and (by_cost := cost_axis(runs, block)) is not None:
            text += regrets(runs, by_cost, block, overheads=False)
        text += differences(runs, axis, block)
    return text


def cost_axis(runs: Runs, block: Block) -> Axis | None:
    """The cost that each race of the block came to, cut to the last mark; None where costs are not known."""
    records = [runs[tuner][race] for tuner in block.tuners for race in block.races]
    if not all(record.get('cost') for record in records):
        return None
    reached = [math.inf if record['ended'] else record['cost'][-1] for record in records]
    marks = Axis(True, min(reached)).marks
    return Axis(True, marks[-1]) if marks else None


def regrets(runs: Runs, axis: Axis, block: Block, overheads: bool) -> str:
    """The table of regrets of a block."""
    names = [problem for problem, _ in block.races]
    records = [[runs[tuner][race] for race in block.races] for tuner in block.tuners]
    at_marks = np.array([[axis.at(record, axis.marks) for record in row] for row in records])
    auc = np.array([[axis.auc(record) for record in row] for row in records])
    after = 'regret after the cost of' if axis.costs else 'regret at'
    heads = [*(f'{after} {mark}' if i == 0 else str(mark) for i, mark in enumerate(axis.marks)), 'AUC', 'mean ranks']
    columns = [*(plain(at_marks[:, :, i], names) for i in range(len(axis.marks))), with_error(auc, names)]
    ranks = [mean_and_error(rows, names)[0] for rows in rankdata(at_marks, axis=0)]
    columns.append([' / '.join(f'{rank:.1f}' for rank in row) for row in ranks])
    if all(record.get('test') for row in records for record in row):
        tested = np.array([[axis.auc(record, 'test') for record in row] for row in records])
        last = np.array([[axis.at(record, axis.marks[-1:], 'test')[0] for record in row] for row in records])
        heads += [f'by test at {axis.marks[-1]}', 'AUC by test']
        columns += [with_error(last, names), with_error(tested, names)]
    if axis.costs and 8 in axis.marks:
        heads.append(f'reaches what {block.tuners[0]} has at 8 after')
        columns.append(reached(axis, records, names))
    if overheads:
        seconds = [[record['seconds'] for record in row] for row in records]
        heads += ['ms a decision', 's a race']
        columns.append([short(1000 * np.mean([np.mean(s or np.nan) for s in row])) for row in seconds])
        columns.append([short(np.mean([np.sum(s) for s in row])) for row in seconds])
    return lines(block.tuners, heads, columns)


def reached(axis: Axis, records: list[list[dict[str, Any]]], names: Sequence[str]) -> list[str]:
    """The cost after which each tuner's mean regret is what the first tuner's is after the cost of 8 trainings."""
    means = [mean_and_error(np.array([axis.at(r, axis.grid) for r in row]), names)[0] for row in records]
    target = mean_and_error(np.array([axis.at(r, 8.0) for r in records[0]]), names)[0]
    found = [axis.grid[mean <= target + 1e-12] for mean in means]
    return [f'{costs[0]:.2g}' if len(costs) else '-' for costs in found]


def differences(runs: Runs, axis: Axis, block: Block) -> str:
    """The first tuner's regret less that of each other, race by race: below zero, the first is ahead."""
    first, *others = block.tuners
    if not others:
        return ''
    names = [problem for problem, _ in block.races]
    cells: list[list[str]] = []
    for other in others:
        mean, error = mean_and_error(paired(runs, axis, block, first, other), names)
        cells.append([signed(m, e) for m, e in zip(mean, error)])
    columns = [list(column) for column in zip(*cells)]
    return lines(others, [*(f'at {mark}' for mark in axis.marks), 'AUC'], columns, f'{first} less')


def paired(runs: Runs, axis: Axis, block: Block, one: str, other: str) -> np.ndarray:
    """(races, marks + 1) differences of regret: at the marks, and of the AUC."""
    values = [
        [[*axis.at(runs[tuner][race], axis.marks), axis.auc(runs[tuner][race])] for race in block.races]
        for tuner in (one, other)
    ]
    return np.array(values[0]) - np.array(values[1])


def overview(runs: Runs, axis: Axis, found: list[Block]) -> str:
    """One line a block: the first tuner, the best of its peers, and who is ahead of it beyond one standard error."""
    text: list[list[str]] = []
    for block in found:
        first, names = block.tuners[0], [problem for problem, _ in block.races]
        rivals = [tuner for tuner in block.tuners[1:] if is_peer(tuner)]
        if not rivals:
            continue
        auc = {t: mean_and_error(np.array([axis.auc(runs[t][r]) for r in block.races]), names)[0] for t in block.tuners}
        best = min(rivals, key=lambda tuner: auc[tuner])
        against = {rival: mean_and_error(paired(runs, axis, block, first, rival), names) for rival in rivals}
        mean, error = against[best]
        ahead = [
            f'{rival} at {", ".join(late)}'
            for rival, (m, e) in against.items()
            if (late := [str(mark) for mark, d, s in zip([*axis.marks, 'AUC'], m, e) if d > s])
        ]
        text.append([
            f'{block.suite}, {len(block.races)} races', f'{auc[first]:.3f}', best, f'{auc[best]:.3f}',
            signed(mean[-1], error[-1]), '; '.join(ahead) or 'nobody',
        ])  # fmt: skip
    if not text:
        return ''
    rows, *columns = (list(column) for column in zip(*text))
    heads = [f'AUC of {found[0].tuners[0]}', 'best peer', 'its AUC', 'paired difference', 'ahead beyond one error']
    return lines(rows, heads, columns, 'suite')


def plain(values: np.ndarray, names: Sequence[str]) -> list[str]:
    """(tuners, races) to a column of means; the least is bold."""
    return emphasized([float(mean_and_error(row, names)[0]) for row in values], [''] * len(values))


def with_error(values: np.ndarray, names: Sequence[str]) -> list[str]:
    """(tuners, races) to a column of means with their standard errors; the least mean is bold."""
    means, errors = zip(*(mean_and_error(row, names) for row in values))
    return emphasized([float(mean) for mean in means], ['' if np.isnan(e) else f' ± {e:.3f}' for e in errors])


def emphasized(means: list[float], ends: list[str]) -> list[str]:
    told = ['-' if np.isnan(mean) else f'{mean:.3f}' for mean in means]
    least = min((mean for mean in means if not np.isnan(mean)), default=np.nan)
    return [f'**{text}**{end}' if mean == least else text + end for mean, text, end in zip(means, told, ends)]


def signed(mean: float, error: float) -> str:
    return f'{mean:+.3f}' if np.isnan(error) else f'{mean:+.3f} ± {error:.3f}'


def short(value: float) -> str:
    """Two digits, or all that are before the point."""
    return f'{value:.0f}' if value >= 10 else f'{value:.2g}'


def lines(rows: list[str], heads: list[str], columns: list[list[str]], of: str = 'tuner') -> str:
    """A Markdown table of columns of cells."""
    body = [f'| {" | ".join(cells)} |' for cells in zip(rows, *columns)]
    return '\n'.join([f'| {of} | {" | ".join(heads)} |', '|---' * (len(heads) + 1) + '|', *body]) + '\n\n'


def plot(runs: Runs, axis: Axis, file: Path) -> bool:
    """For each suite: mean regret over what was spent, ± standard error; then overhead over observations.

    False where matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullFormatter
    except ImportError:
        return False
    shown = [(block, axis) for block in blocks(runs)]
    if not axis.costs:
        shown += [(block, by_cost) for block, _ in shown if (by_cost := cost_axis(runs, block)) is not None]
    styles = {
        tuner: {'color': COLORS[i % 7], 'linestyle': ('-', '--', ':')[i // 7 % 3], 'label': tuner}
        for i, tuner in enumerate(peers.TUNERS)
    }
    height = math.ceil((len(shown) + 1) / 2)
    figure = Figure(figsize=(12, 4.5 * height + 0.7), layout='constrained')
    panels = [figure.add_subplot(height, 2, i + 1, yscale='log') for i in range(len(shown) + 1)]
    for panel, (block, of_block) in zip(panels, shown):
        names, grid = [problem for problem, _ in block.races], of_block.grid
        for tuner in block.tuners:
            values = np.array([of_block.at(runs[tuner][race], grid) for race in block.races])
            mean, error = mean_and_error(values, names)
            panel.plot(grid, np.maximum(mean, LEAST), **styles[tuner])
            low, high = np.maximum(mean - error, LEAST), np.maximum(mean + error, LEAST)
            panel.fill_between(grid, low, high, color=styles[tuner]['color'], alpha=0.12, linewidth=0)
        spent = 'cost, in full trainings' if of_block.costs else 'epochs trained'
        panel.set(xlabel=spent, ylabel='normalized regret', title=f'{block.suite}, {len(block.races)} races')
    for tuner, races in runs.items():
        observations = np.concatenate([record['observations'] for record in races.values()])
        milliseconds = 1000 * np.concatenate([record['seconds'] for record in races.values()])
        width = max(1.0, (observations.max(initial=0) + 1) / 20)
        bins = (observations // width).astype(int)
        used = np.unique(bins)
        panels[-1].plot((used + 0.5) * width, [milliseconds[bins == each].mean() for each in used], **styles[tuner])
    panels[-1].set(xlabel='observations', ylabel='ms a decision', title='overhead of decisions')
    for panel in panels:
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter('{x:g}')
        panel.yaxis.set_minor_formatter(NullFormatter())
    figure.legend(*panels[-1].get_legend_handles_labels(), loc='outside lower center', ncols=7, frameon=False)
    figure.savefig(file, dpi=120)
    return True
