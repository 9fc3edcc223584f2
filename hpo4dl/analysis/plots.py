"""Pictures of a run, with matplotlib (the extra `plot`).

Each panel is a function that draws on the axes it is given; `draw` puts them all on one page. Colours are of Okabe and
Ito's palette and of cividis, which the colour-blind can tell apart.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..checks import import_extra
from ..errors import ArgumentError, HPO4DLError
from ..text import escape, truncate
from .explain import NOT_WEIGHED, Explanation
from .run import Hyperparameter, Run, TrialRecord, bounds, is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.collections import PathCollection
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

GREY, BLUE, RED = '#8c96a0', '#0072b2', '#d55e00'
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
STYLE: dict[Any, Any] = {
    'font.size': 9.0,
    'axes.titlesize': 10.0,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.color': '#e4e7ea',
    'grid.linewidth': 0.6,
    'axes.axisbelow': True,
    'legend.frameon': False,
    'legend.fontsize': 8.0,
}
MANY = 300
"""From so many trials on, lines and points are thinner, and pixels in an SVG."""
MAX_AXES, MAX_PANELS = 12, 24


def draw(run: Run, importance: tuple[Mapping[str, float], int, int] | None = None) -> Figure:
    """All panels of one run.

    Args:
        run: what `read_run` returned.
        importance: what `export.importance` returned; adds a panel.

    Raises:
        HPO4DLError: matplotlib is not installed, or there is no metric to draw.
    """
    figure = new_figure()
    if not run.observations:
        raise HPO4DLError(f'{run.folder}: no trial has given a metric yet, so there is nothing to draw')
    shown = varying(run)[:MAX_PANELS]
    rows = [shown[i : i + 4] for i in range(0, len(shown), 4)]
    heights = [4.0, 3.2, 3.6] + [2.6] * len(rows)
    with styled():
        figure.set_size_inches(14, sum(heights) + 0.5)
        how = f'{run.settings.get("optimizer") or "optimizer object"}, seed {run.settings.get("seed")}'
        title = f'{run.name}  ·  {how}  ·  {len(run.trials)} trials, {run.epochs_spent} epochs'
        figure.suptitle(label(title, 140), x=0.01, ha='left', weight='bold', size=12)
        strips: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
        curves, left = strips[0].subplots(1, 2, width_ratios=[2, 1])
        learning_curves(curves, run)
        trials_left(left, run)
        middle = strips[1].subplots(1, 3 if importance else 2)
        best_so_far(middle[0], [run])
        best_so_far(middle[1], [run], over_time=True)
        if importance:
            importances(middle[2], *importance)
        parallel_coordinates(strips[2].subplots(), run)
        for strip, hyperparameters in zip(strips[3:], rows):
            panels = strip.subplots(1, 4, squeeze=False)[0]
            for panel, hyperparameter in zip(panels, hyperparameters):
                points = metric_by(panel, run, hyperparameter)
            for panel in panels[1:]:
                panel.set_ylabel('')
            for panel in panels[len(hyperparameters) :]:
                panel.set_axis_off()
            strip.colorbar(points, ax=panels, label='trained to epoch', pad=0.01, aspect=15)
    return figure


def draw_comparison(runs: Sequence[Run]) -> Figure:
    """The best so far of several runs, over epochs and over time."""
    figure = new_figure()
    with styled():
        figure.set_size_inches(13, 4.5)
        for index, over_time in enumerate((False, True)):
            best_so_far(figure.add_subplot(1, 2, index + 1), runs, over_time)
    return figure


def draw_explanation(explanation: Explanation, run: Run) -> Figure:
    """The options of a decision: their curves until then, and the quantiles that were predicted for the rest.

    Raises:
        HPO4DLError: matplotlib is not installed, or nothing was predicted for that decision.
    """
    figure = new_figure()
    if not explanation.options:
        raise HPO4DLError(f'decision {explanation.step}: {NOT_WEIGHED}')
    with styled():
        n = min(len(explanation.options), 6)
        rows = -(-n // 3)
        figure.set_size_inches(13, 3.4 * rows + 0.6)
        chosen = explanation.chosen
        title = f'{run.name}  ·  decision {explanation.step}: trial {chosen.id} to epoch {chosen.epoch}'
        figure.suptitle(label(title, 140), x=0.01, ha='left', weight='bold', size=12)
        panels = list(figure.subplots(rows, min(n, 3), squeeze=False, sharex=True, sharey=True).flat)
        for place, (axes, option) in enumerate(zip(panels, explanation.options)):
            colour = RED if place == 0 else BLUE
            low, median, high = option.forecast
            axes.fill_between(option.epochs, low, high, color=colour, alpha=0.18, linewidth=0, label='5% to 95%')
            axes.plot(option.epochs, median, color=colour, linewidth=1.2, linestyle='--', label='predicted')
            axes.plot(list(option.values), list(option.values.values()), color=colour, marker='.', label='so far')
            if explanation.to_beat is not None:
                axes.axhline(explanation.to_beat, color=GREY, linewidth=1, linestyle=':', label='to beat')
            axes.axvline(option.ahead, color=GREY, linewidth=0.8, label='judged at')
            axes.set_title(f'{"picked: " if place == 0 else ""}{option.name()}, gain {option.gain:.2f}')
        metrics = [q for option in explanation.options for q in [*option.forecast.flat, *option.values.values()]]
        for axes in panels[:n]:
            epoch_axis(axes, run)
            metric_axis(axes, run, metrics)
            axes.label_outer()
        for axes in panels[n:]:
            axes.set_axis_off()
        panels[0].legend()
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the format follows from the name.

    Raises:
        ArgumentError: matplotlib does not know the format, or the file cannot be written.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*[Gg]lyph')  # a script that the font lacks shows as boxes
        try:
            figure.savefig(path, dpi=150)
        except (OSError, ValueError) as error:
            raise ArgumentError('output', str(path), f'a file that can be written, .png or .svg ({error})') from error


def learning_curves(axes: Axes, run: Run) -> None:
    """All learning curves, the incumbent's on top; a trial of one epoch is a point."""
    ranked = run.ranked()
    many = len(ranked) > MANY
    curves = [np.array(list(trial.metrics.items())) for trial in ranked]
    alpha = max(0.08, min(0.7, 60 / len(curves)))
    add_lines(axes, curves[1:], color=GREY, linewidth=0.5 if many else 0.9, alpha=alpha, rasterized=many)
    ends = np.array([curve[-1] for curve in curves[1:]]).reshape(-1, 2)
    size = 2 if many else 9
    axes.scatter(ends[:, 0], ends[:, 1], s=size, color=GREY, alpha=min(1, 2 * alpha), linewidths=0, rasterized=many)
    for curve in curves[1:6]:
        axes.plot(curve[:, 0], curve[:, 1], color=BLUE, linewidth=1.1, marker='.' if len(curve) == 1 else '')
    if len(curves) > 6:
        axes.plot([], [], color=GREY, label='other trials')
    if len(curves) > 1:
        axes.plot([], [], color=BLUE, label=f'runners-up ({min(5, len(curves) - 1)})')
    best = ranked[0].best
    assert best is not None
    name = f'incumbent: {best.metric:.5g} at epoch {best.epoch} of trial {best.trial}'
    axes.plot(curves[0][:, 0], curves[0][:, 1], color=RED, linewidth=2.2, label=name)
    axes.plot(best.epoch, best.metric, 'o', color=RED, markersize=6)
    epoch_axis(axes, run)
    metric_axis(axes, run, [m for trial in ranked for m in trial.metrics.values()])
    axes.set_title('Learning curves')
    axes.legend(loc='best' if not many else 'upper right' if run.minimize else 'lower right')


def trials_left(axes: Axes, run: Run) -> None:
    """How the epochs were spent: the number of trials that were trained to at least each epoch."""
    from matplotlib.ticker import MaxNLocator

    reached = np.array([trial.epoch for trial in run.trials.values()])
    epochs = np.arange(1, run.max_epochs + 1)
    count = (reached[None, :] >= epochs[:, None]).sum(1)
    axes.bar(epochs, count, width=0.9 if run.max_epochs <= 100 else 1.0, color=BLUE)
    epoch_axis(axes, run)
    if count.max() > 50:
        axes.set_yscale('log')
        axes.set_ylim(0.7)
        plain_log(axes.yaxis, 1, count.max())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    title = f'Epochs: {run.epochs_spent} spent, {run.epochs_saved()} saved by pausing'
    axes.set(title=title, ylabel='trials trained to it')


def best_so_far(axes: Axes, runs: Sequence[Run], over_time: bool = False) -> None:
    """The incumbent's metric over the epochs, or the time, that were spent."""
    longest = max(run.elapsed for run in runs)
    unit, seconds = next((u, s) for u, s in UNITS if longest >= 2 * s or s == 1)
    alone = len(runs) == 1
    for index, run in enumerate(runs):
        steps = run.improvements()
        end = run.elapsed / seconds if over_time else run.epochs_spent
        x = [o.elapsed / seconds if over_time else o.spent for o in steps] + [end]
        y = [o.metric for o in steps] + [o.metric for o in steps[-1:]]
        colour, line = (RED if alone else COLOURS[index % 7]), '-' if index < 7 else '--' if index < 14 else ':'
        name = f'{run.name} ({run.settings.get("optimizer") or "object"}, seed {run.settings.get("seed")})'
        axes.step(x[: len(y)], y, line, where='post', color=colour, linewidth=1.8, label=label(name, 60))
        axes.plot(x[:-1], y[:-1], 'o', color=colour, markersize=3)
    every = [o.metric for run in runs for o in run.improvements()]
    metric_axis(axes, runs[0], every)
    axes.set_xlim(left=0)
    x_label = f'time that the run worked ({unit})' if over_time else 'epochs trained, over all trials'
    axes.set(title=f'Best so far, over {"time" if over_time else "epochs"}', xlabel=x_label, ylabel='best metric')
    if not alone and not over_time:
        axes.legend(loc='upper right' if runs[0].minimize else 'lower right')


def parallel_coordinates(axes: Axes, run: Run) -> None:
    """A line a trial across one axis a hyperparameter, the metric last; better trials are darker, and on top."""
    shown = varying(run)[:MAX_AXES]
    ranked = run.ranked()[::-1]
    metrics = [trial.best.metric for trial in ranked if trial.best]
    low, high = limits(run, metrics)
    scale, middle = np.array([low, high, *metrics]), (low + high) / 2
    if spans_decades(run, low, high):
        scale, middle = np.log(scale), math.sqrt(low * high)
    height = np.clip((scale[2:] - scale[0]) / ((scale[1] - scale[0]) or 1), 0, 1)
    columns = [places(h, ranked, run) for h in shown]
    lines = np.column_stack([*columns, height])
    x = np.arange(lines.shape[1])
    many = len(ranked) > MANY
    standing = np.linspace(0, 1, len(ranked))
    colours = palette()(standing)
    faint = max(0.03, min(0.5, 20 / len(ranked)))
    colours[:, 3] = faint + (0.8 - faint) * standing ** (8 if many else 2)
    segments = [np.column_stack([x, y]) for y in lines]
    add_lines(axes, segments[:-1], colors=colours[:-1], linewidth=0.5 if many else 1, rasterized=many)
    axes.plot(x, lines[-1], color=RED, linewidth=2.2, label='incumbent')
    for position, h in enumerate(shown):
        for at, name in ticks(h, run):
            axes.text(position + 0.02, at, label(name, 18), size=7.5, va='center', color='#333333', bbox=PAPER)
        if (columns[position] == INACTIVE).any():
            axes.text(position + 0.02, INACTIVE, 'inactive', size=7.5, va='center', style='italic', bbox=PAPER)
    for at, value in zip((0.0, 0.5, 1.0), (low, middle, high)):
        axes.text(x[-1] + 0.02, at, f'{value:.4g}', size=7.5, va='center', bbox=PAPER)
    axes.vlines(x, 0, 1, color='#444444', linewidth=0.9)
    axes.set_xticks(x, [*[label(h.name, max(8, 130 // len(x))) for h in shown], 'best metric'])
    axes.set_xlim(-0.25, x[-1] + 0.35)
    axes.set_ylim(min(lines.min(), 0) - 0.07, 1.06)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[['left', 'bottom']].set_visible(False)
    axes.tick_params(axis='x', length=0)
    left_out = len(varying(run)) - len(shown)
    axes.set_title('Configurations: dark is better' + (f' ({left_out} more hyperparameters)' if left_out else ''))
    axes.legend(loc='lower right', bbox_to_anchor=(1, 1))


def metric_by(axes: Axes, run: Run, hyperparameter: Hyperparameter) -> PathCollection:
    """Each trial's best metric by the value of one hyperparameter; the colour tells how far it was trained."""
    h = hyperparameter
    trials = [trial for trial in run.ranked()[::-1] if h.name in trial.configuration]
    values = [trial.configuration[h.name] for trial in trials]
    y = np.array([trial.best.metric for trial in trials if trial.best])
    if h.kind == 'number':
        x = np.array(values, dtype=float)
        low, high = bounds(h, run)
        if h.log and low > 0:
            axes.set_xscale('log')
            plain_log(axes.xaxis, low, high)
            margin = (high / low) ** 0.03
            low, high = low / margin, high * margin
        else:
            low, high = low - 0.03 * (high - low), high + 0.03 * (high - low)
        if low < high:
            axes.set_xlim(low, high)
    else:
        index = {repr(value): i for i, value in enumerate(h.values)}
        # Points are spread, so that equal values do not hide each other.
        spread = 0.3 * min(1.0, len(trials) / 50) * np.sin(2.4 * np.arange(len(trials)))
        x = np.array([index[repr(value)] for value in values], dtype=float) + spread
        names = [label(value, 14) for value in h.values]
        step = math.ceil(len(names) / 12)
        axes.set_xticks(range(0, len(names), step), names[::step])
        if sum(map(len, names[::step])) > 28:
            axes.tick_params(axis='x', labelrotation=30)
            for tick in axes.get_xticklabels():
                tick.set(ha='right', rotation_mode='anchor')
        axes.set_xlim(-0.5, len(names) - 0.5)
    many = len(trials) > MANY
    epochs = [trial.epoch for trial in trials]
    points = axes.scatter(
        x, y, c=epochs, cmap=palette(), vmin=1, vmax=max(last_epoch(run), 2), s=5 if many else 18,
        alpha=0.6 if many else 0.9, linewidths=0, rasterized=many,
    )  # fmt: skip
    if trials and trials[-1] is run.ranked()[0]:
        axes.plot(x[-1:], y[-1:], '*', color=RED, markersize=12, markeredgecolor='white')
    metric_axis(axes, run, [trial.best.metric for trial in run.ranked() if trial.best])
    axes.set_title(label(h.name, 30))
    return points


def importances(axes: Axes, shares: Mapping[str, float], epoch: int, trials: int) -> None:
    """A bar a hyperparameter, the most important one on top."""
    shown = sorted(shares.items(), key=lambda entry: entry[1])[-MAX_AXES:]
    axes.barh(range(len(shown)), [share for _, share in shown], color=BLUE)
    axes.set_yticks(range(len(shown)), [label(name, 22) for name, _ in shown])
    axes.set(title=f'Importance at epoch {epoch} (fANOVA, {trials} trials)', xlim=(0, None))
    axes.set_xlabel('share of the variance of the metric')
    axes.grid(axis='y', visible=False)


UNITS = (('days', 86400), ('hours', 3600), ('minutes', 60), ('seconds', 1))
INACTIVE = -0.13
"""Where a hyperparameter that is not active is drawn, below its axis."""
PAPER = {'facecolor': 'white', 'alpha': 0.75, 'edgecolor': 'none', 'pad': 0.8}


def places(h: Hyperparameter, trials: Sequence[TrialRecord], run: Run) -> Array:
    """(n,) where trials lie on the hyperparameter's axis, in [0, 1]; `INACTIVE` where it is."""
    found = np.full(len(trials), INACTIVE)
    active = np.array([h.name in trial.configuration for trial in trials])
    values = [trial.configuration[h.name] for trial in trials if h.name in trial.configuration]
    if h.kind != 'number':
        index = {repr(value): i for i, value in enumerate(h.values)}
        found[active] = [index[repr(value)] / max(len(h.values) - 1, 1) for value in values]
        return found
    scale = np.array([*bounds(h, run), *values], dtype=float)
    if h.log and scale[0] > 0:
        scale = np.log(scale)
    found[active] = (scale[2:] - scale[0]) / ((scale[1] - scale[0]) or 1)
    return found


def ticks(h: Hyperparameter, run: Run) -> list[tuple[float, object]]:
    """Places on the hyperparameter's axis, and what to write there."""
    if h.kind != 'number':
        step = math.ceil(len(h.values) / 12)
        return [(i / max(len(h.values) - 1, 1), value) for i, value in enumerate(h.values)][::step]
    low, high = bounds(h, run)
    logarithmic = h.log and low > 0
    middle = math.sqrt(low * high) if logarithmic else (low + high) / 2
    return [(0.0, f'{low:.3g}'), (0.5, f'{middle:.3g}'), (1.0, f'{high:.3g}')]


def varying(run: Run) -> list[Hyperparameter]:
    """The hyperparameters that some trial has, and that can take more than one value."""
    raced = {name for trial in run.trials.values() for name in trial.configuration}
    return [h for h in run.hyperparameters if h.name in raced and (h.kind == 'number' or len(h.values) > 1)]


def limits(run: Run, metrics: Sequence[float]) -> tuple[float, float]:
    """A range that holds the better nine tenths of the metrics well, however bad the others are."""
    values = np.array(metrics)
    best = values.min() if run.minimize else values.max()
    worst = values.max() if run.minimize else values.min()
    common = np.quantile(values, 0.9 if run.minimize else 0.1)
    if abs(worst - best) > 4 * abs(common - best) > 0:
        worst = best + 1.5 * (common - best)
    return float(min(best, worst)), float(max(best, worst))


def metric_axis(axes: Axes, run: Run, metrics: Sequence[float]) -> None:
    """The vertical axis; says how many of `metrics` it leaves out."""
    low, high = limits(run, metrics)
    if spans_decades(run, low, high):
        axes.set_yscale('log')
        margin = (high / low) ** 0.04
        axes.set_ylim(low / margin, high * margin)
        plain_log(axes.yaxis, low, high)
    else:
        margin = 0.05 * (high - low) or max(abs(low), 1e-9) * 0.05
        axes.set_ylim(low - margin, high + margin)
    axes.set_ylabel(f'metric ({"smaller" if run.minimize else "larger"} is better)')
    outside = sum(not low <= metric <= high for metric in metrics)
    if outside:
        y, va = (0.98, 'top') if run.minimize else (0.02, 'bottom')
        text = f'{outside} of {len(metrics)} beyond this axis'
        axes.text(0.01, y, text, transform=axes.transAxes, va=va, size=7.5, color='#555555', bbox=PAPER)


def spans_decades(run: Run, low: float, high: float) -> bool:
    """Whether metrics are better drawn by their logarithms: losses that differ by more than a factor of ten."""
    return run.minimize and 0 < 10 * low < high


def plain_log(axis: Axis, low: float, high: float) -> None:
    """Labels of a logarithmic axis as plain numbers, between the powers of ten too where there are few."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low >= 500 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter('{x:g}'))
    axis.set_minor_formatter(NullFormatter())


def palette() -> Colormap:
    """From ochre to navy: cividis without its yellow, which is faint on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps['cividis_r'](np.linspace(0.2, 1, 256)))


def epoch_axis(axes: Axes, run: Run) -> None:
    """The horizontal axis of a trial's epochs, as far as any trial got."""
    from matplotlib.ticker import MaxNLocator

    last = last_epoch(run)
    axes.set_xlim(0.5, last + 0.5)
    axes.set_xlabel('epoch of the trial' + (f', of {run.max_epochs} at most' if last < run.max_epochs else ''))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def last_epoch(run: Run) -> int:
    """The furthest that any trial got."""
    return max(trial.epoch for trial in run.trials.values())


def add_lines(axes: Axes, lines: Iterable[Array], **style: Any) -> None:
    """Many lines at once."""
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(list(lines), **style))


def label(text: object, width: int) -> str:
    """Text for matplotlib: one line, cut, and dollars that do not begin a formula."""
    text = f'{text:.5g}' if is_number(text) else escape(text)
    return truncate(text, width).replace('$', r'\$')


def new_figure() -> Figure:
    """An empty figure that belongs to no window."""
    figure: Figure = import_extra('matplotlib.figure', 'plot').Figure(layout='constrained')
    return figure


def styled() -> Any:
    """matplotlib's settings for these pictures, for a with block."""
    import matplotlib

    return matplotlib.rc_context(STYLE)
