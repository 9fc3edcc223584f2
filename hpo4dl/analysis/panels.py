"""The panels of a figure, each a function that draws on given axes of matplotlib. What they show, `charts` computes.

Colors are of Okabe and Ito's palette and of cividis, which the color-blind can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..text import escape, truncate
from ..trial import Array
from . import charts
from .importance import Importance
from .run import Hyperparameter, Run, is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap

GRAY, BLUE, RED = '#8c96a0', '#0072b2', '#d55e00'
COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')


def learning_curves(axes: Axes, run: Run) -> None:
    """Draw all learning curves, the incumbent's on top; a trial of one epoch is a point."""
    ranked = run.ranked()
    many = len(ranked) > charts.MANY
    curves = [np.array(list(trial.metrics.items())) for trial in ranked]
    alpha = charts.curve_opacity(len(curves))
    add_lines(axes, curves[1:], color=GRAY, linewidth=0.5 if many else 0.9, alpha=alpha, rasterized=many)
    ends = np.array([curve[-1] for curve in curves[1:]]).reshape(-1, 2)
    size = 2 if many else 9
    axes.scatter(ends[:, 0], ends[:, 1], s=size, color=GRAY, alpha=min(1, 2 * alpha), linewidths=0, rasterized=many)
    for curve in curves[1:6]:
        axes.plot(curve[:, 0], curve[:, 1], color=BLUE, linewidth=1.1, marker='.' if len(curve) == 1 else '')
    if len(curves) > 6:
        axes.plot([], [], color=GRAY, label='other trials')
    if len(curves) > 1:
        axes.plot([], [], color=BLUE, label=f'runners-up ({min(5, len(curves) - 1)})')
    best = ranked[0].best
    assert best is not None
    name = f'incumbent: {best.metric:.5g} at epoch {best.epoch} of trial {best.trial}'
    axes.plot(curves[0][:, 0], curves[0][:, 1], color=RED, linewidth=2.2, label=name)
    axes.plot(best.epoch, best.metric, 'o', color=RED, markersize=6)
    epoch_axis(axes, charts.last_epoch(run), charts.epoch_label(run))
    metric_axis(axes, run, [m for trial in ranked for m in trial.metrics.values()])
    axes.set_title('Learning curves')
    axes.legend(loc='best' if not many else 'upper right' if run.minimize else 'lower right')


def finalists(axes: Axes, run: Run) -> None:
    """Draw the learning curves of the best trials alone, each with a dot at its best, where they differ."""
    ranked = run.ranked()[: charts.FINALISTS]
    for place, trial in reversed([*enumerate(ranked)]):
        assert trial.best is not None
        color, width = (RED, 2.2) if place == 0 else (BLUE, 1.1)
        axes.plot(list(trial.metrics), list(trial.metrics.values()), color=color, linewidth=width)
        axes.plot(trial.best.epoch, trial.best.metric, 'o', color=color, markersize=6 if place == 0 else 3.5)
    first, last = charts.zoom_epochs(run)
    epoch_axis(axes, last, 'epoch of the trial', first)
    metric_axis(axes, run, charts.zoom_metrics(run), note=False)
    axes.set_title(f'The best {len(ranked)}, closer' if len(ranked) > 1 else 'The only trial with a metric')


def trials_by_epoch(axes: Axes, run: Run) -> None:
    """Draw the number of trials that were trained to at least each epoch."""
    from matplotlib.ticker import MaxNLocator

    begin, end, count = np.array(charts.trials_by_epoch(run), dtype=float).T
    axes.bar((begin + end) / 2, count, width=end - begin + (0.9 if end[-1] <= 40 else 1.0), color=BLUE)
    epoch_axis(axes, charts.last_epoch(run), charts.epoch_label(run))
    if max(count) > 50:
        axes.set_yscale('log')
        axes.set_ylim(0.7)
        plain_ticks(axes.yaxis, charts.Axis(0.7, max(count), log=True).ticks(5, whole=True))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    title = f'Epochs: {run.epochs_spent} spent, {run.epochs_saved()} saved by pausing'
    axes.set(title=title, ylabel='trials trained to at least this')


def best_so_far(axes: Axes, runs: Sequence[Run], over_time: bool = False) -> None:
    """Draw the incumbent's metric over the epochs, or the time, spent so far."""
    unit, seconds = charts.time_unit(max(run.elapsed for run in runs))
    alone = len(runs) == 1
    for index, run in enumerate(runs):
        steps = run.improvements()
        end = run.elapsed / seconds if over_time else run.epochs_spent
        x = [o.elapsed / seconds if over_time else o.spent for o in steps] + [end]
        y = [o.metric for o in steps] + [o.metric for o in steps[-1:]]
        color, line = (RED if alone else COLORS[index % 7]), '-' if index < 7 else '--' if index < 14 else ':'
        name = f'{run.name} ({run.settings.get("optimizer") or "object"}, seed {run.settings.get("seed")})'
        axes.step(x[: len(y)], y, line, where='post', color=color, linewidth=1.8, label=label(name, 60))
        axes.plot(x[:-1], y[:-1], 'o', color=color, markersize=3)
    every = [metric for run in runs for metric in charts.best_so_far(run)]
    metric_axis(axes, runs[0], every, note=False)
    axes.set_ylabel(label(f'best {runs[0].metric_name}', 40))
    axes.set_xlim(left=0)
    x_label = f'time that the run worked ({unit})' if over_time else 'epochs trained, over all trials'
    axes.set(title=f'Best so far, over {"time" if over_time else "epochs"}', xlabel=x_label)
    if not alone and not over_time:
        axes.legend(loc='upper right' if runs[0].minimize else 'lower right')


def parallel_coordinates(axes: Axes, run: Run) -> None:
    """Draw one line per trial across an axis per hyperparameter and one for the metric; better trials are drawn last.

    As in the panels of single hyperparameters, the color is the epoch that a trial was trained to.
    """
    columns = charts.parallel_columns(run)
    lines = np.column_stack([column.positions for column in columns])[::-1]
    x = np.arange(len(columns))
    many = len(lines) > charts.MANY
    colors = epoch_colors(run).to_rgba(np.array([trial.epoch for trial in run.ranked()[::-1]]))
    colors[:, 3] = charts.line_opacities(len(lines))
    segments = [np.column_stack([x, y]) for y in lines]
    add_lines(axes, segments[:-1], colors=colors[:-1], linewidth=0.5 if many else 1, rasterized=many)
    axes.plot(x, lines[-1], color=RED, linewidth=2.2, label='incumbent')
    for position, column in enumerate(columns):
        for at, value in column.marks:
            axes.text(position + 0.02, at, label(value, 18), size=7.5, va='center', color='#333333', bbox=PAPER)
        if charts.INACTIVE in column.positions:
            axes.text(position + 0.02, charts.INACTIVE, 'inactive', size=7.5, va='center', style='italic', bbox=PAPER)
    axes.vlines(x, 0, 1, color='#444444', linewidth=0.9)
    axes.xaxis.tick_top()
    axes.set_xticks(x, [label(column.name, max(8, 130 // len(x))) for column in columns])
    axes.set_xlim(-0.25, x[-1] + 0.35)
    axes.set_ylim(min(lines.min(), 0) - 0.07, 1.06)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[['left', 'bottom']].set_visible(False)
    axes.tick_params(axis='x', length=0, labelsize=9)
    for name in axes.get_xticklabels():
        name.set(ha='left', weight='bold')
    left_out = len(charts.varying(run)) + 1 - len(columns)
    axes.set_title(
        'Configurations, the better ones drawn last' + (f' ({left_out} more hyperparameters)' if left_out else '')
    )
    axes.legend(loc='lower right', bbox_to_anchor=(1, 1.06))


def metric_by(axes: Axes, run: Run, hyperparameter: Hyperparameter) -> None:
    """Draw each trial's best metric over one hyperparameter; the color is the epoch it was trained to."""
    h = hyperparameter
    trials = [trial for trial in run.ranked()[::-1] if h.name in trial.configuration]
    y = np.array([trial.best.metric for trial in trials if trial.best])
    if h.kind == 'number':
        x = np.array([trial.configuration[h.name] for trial in trials], dtype=float)
        axis = charts.value_axis(h, run)
        if axis.log:
            axes.set_xscale('log')
        plain_ticks(axes.xaxis, charts.marked_values(h, run))
        if axis.low < axis.high:
            axes.set_xlim(axis.widened(0.03).low, axis.widened(0.03).high)
    else:
        x = np.array(charts.spread_indices(h, trials))
        names = [label(value, 14) for value in h.values]
        step = math.ceil(len(names) / 12)
        axes.set_xticks(range(0, len(names), step), names[::step])
        if sum(map(len, names[::step])) > 28:
            axes.tick_params(axis='x', labelrotation=30)
            for tick in axes.get_xticklabels():
                tick.set(ha='right', rotation_mode='anchor')
        axes.set_xlim(-0.5, len(names) - 0.5)
    many = len(trials) > charts.MANY
    colors = epoch_colors(run).to_rgba(np.array([trial.epoch for trial in trials]))
    size, alpha = (5, 0.6) if many else (18, 0.9)
    axes.scatter(x, y, c=colors, s=size, alpha=alpha, linewidths=0, rasterized=many)
    if trials and trials[-1] is run.ranked()[0]:
        axes.plot(x[-1:], y[-1:], '*', color=RED, markersize=12, markeredgecolor='white')
    metric_axis(axes, run, [trial.best.metric for trial in run.ranked() if trial.best])
    axes.set_ylabel(label(f'best {run.metric_name}', 40))
    axes.set_title(label(h.name, 30))


def importances(axes: Axes, found: Importance) -> None:
    """Draw one bar per hyperparameter, the most important one on top; those that cannot be assessed have none."""
    shown = [*found.shares.items(), *((name, math.nan) for name in found.left_out)][: charts.MAX_AXES][::-1]
    axes.barh(range(len(shown)), [0.0 if math.isnan(share) else share for _, share in shown], color=BLUE)
    axes.set_yticks(range(len(shown)), [label(name, 22) for name, _ in shown])
    for place, (_, share) in enumerate(shown):
        if math.isnan(share):
            axes.text(0, place, ' not assessed: conditional', size=7.5, va='center', style='italic')
    axes.set(title=f'Importance at epoch {found.epoch}', xlim=(0, None))
    axes.set_xlabel(f'share of the variance (fANOVA, {found.trials} trials)')
    axes.grid(axis='y', visible=False)


PAPER = {'facecolor': 'white', 'alpha': 0.75, 'edgecolor': 'none', 'pad': 0.8}


def metric_axis(axes: Axes, run: Run, metrics: Sequence[float], note: bool = True) -> None:
    """Set up the vertical axis, with a note on how many of `metrics` it leaves out."""
    axis = charts.metric_axis(run, metrics)
    if axis.log:
        axes.set_yscale('log')
    plain_ticks(axes.yaxis, charts.metric_ticks(run, metrics, 6))
    axes.set_ylim(axis.low, axis.high)
    axes.set_ylabel(label(charts.metric_label(run), 60))
    if axis.outside and note:
        y, va = (0.98, 'top') if run.minimize else (0.02, 'bottom')
        text = f'{axis.outside} of {len(metrics)} beyond this axis'
        axes.text(0.01, y, text, transform=axes.transAxes, va=va, size=7.5, color='#555555', bbox=PAPER)


def plain_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Label an axis at these values, with plain numbers."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(StrMethodFormatter('{x:.6g}'))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def epoch_colors(run: Run) -> ScalarMappable:
    """Return what makes a color of the epoch that a trial was trained to: the one scale of colors, in all panels."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    return ScalarMappable(LogNorm(1, max(charts.last_epoch(run), 2)), palette())


def palette() -> Colormap:
    """Return a color map from ochre to navy: cividis without its yellow, which is faint on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps['cividis_r'](np.linspace(0.2, 1, 256)))


def epoch_axis(axes: Axes, last: int, text: str, first: int = 1) -> None:
    """Set up the horizontal axis of a trial's epochs, from the first to the last."""
    axes.set_xlim(first - 0.5, max(last, first) + 0.5)
    axes.set_xlabel(text)
    plain_ticks(axes.xaxis, charts.epoch_ticks(last, 8, first))


def add_lines(axes: Axes, lines: Iterable[Array], **style: Any) -> None:
    """Draw many lines at once."""
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(list(lines), **style))


def label(text: object, width: int) -> str:
    """Return text for matplotlib: one line, cut, with dollars escaped, which would begin a formula."""
    text = f'{text:.5g}' if is_number(text) else escape(text)
    return truncate(text, width).replace('$', r'\$')
