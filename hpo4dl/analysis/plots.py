"""Draw a run with matplotlib (the extra `plot`): all panels of `panels` on one figure; several runs; a decision."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, HPO4DLError
from ..integrations.extras import import_extra
from . import charts, panels
from .explain import Explanation
from .importance import Importance
from .output import write_output
from .run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Figure


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


def draw(run: Run, importance: Importance | None = None) -> Figure:
    """Draw all panels of one run.

    Args:
        run: what `read_run` returned.
        importance: what `importance.importance` returned; adds a panel.

    Raises:
        HPO4DLError: matplotlib is not installed, or there is no metric to draw.
    """
    figure = new_figure()
    if not run.observations:
        raise HPO4DLError(f'{run.folder}: no trial has given a metric yet, so there is nothing to draw')
    shown = charts.varying(run)[: charts.MAX_PANELS]
    rows = [shown[i : i + 4] for i in range(0, len(shown), 4)]
    heights = [4.2, 3.0, 3.6] + [2.6] * len(rows)
    with styled():
        figure.set_size_inches(14, sum(heights) + 0.5)
        how = f'{run.settings.get("optimizer") or "optimizer object"}, seed {run.settings.get("seed")}'
        title = f'{run.name}  ·  {how}  ·  {len(run.trials)} trials, {run.epochs_spent} epochs'
        figure.suptitle(panels.label(title, 140), x=0.01, ha='left', weight='bold', size=12)
        strips: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
        curves, best = strips[0].subplots(1, 2, width_ratios=[1.2, 1])
        panels.learning_curves(curves, run)
        panels.finalists(best, run)
        middle = strips[1].subplots(1, 4 if importance else 3)
        panels.best_so_far(middle[0], [run])
        panels.best_so_far(middle[1], [run], over_time=True)
        panels.trials_by_epoch(middle[2], run)
        if importance:
            panels.importances(middle[3], importance)
        parallel = strips[2].subplots()
        panels.parallel_coordinates(parallel, run)
        last = max(charts.last_epoch(run), 2)
        ticks = [t for t in charts.Axis(1, last, log=True).ticks(5, whole=True) if t < last / 1.3] + [last]
        bar = strips[2].colorbar(panels.epoch_colors(run), ax=parallel, label='trained to epoch', pad=0.01, aspect=18)
        panels.plain_ticks(bar.ax.yaxis, ticks)
        for strip, hyperparameters in zip(strips[3:], rows):
            row = strip.subplots(1, 4, squeeze=False)[0]
            for panel, hyperparameter in zip(row, hyperparameters):
                panels.metric_by(panel, run, hyperparameter)
            for panel in row[1:]:
                panel.set_ylabel('')
            for panel in row[len(hyperparameters) :]:
                panel.set_axis_off()
    return figure


def draw_comparison(runs: Sequence[Run]) -> Figure:
    """Draw the best metric so far of several runs, over epochs and over time; raises HPO4DLError as `draw`."""
    if not any(run.improvements() for run in runs):
        raise HPO4DLError('no trial of these runs has given a metric yet, so there is nothing to draw')
    figure = new_figure()
    with styled():
        figure.set_size_inches(13, 4.5)
        for index, over_time in enumerate((False, True)):
            panels.best_so_far(figure.add_subplot(1, 2, index + 1), runs, over_time)
    return figure


def draw_explanation(explanation: Explanation, run: Run) -> Figure:
    """Draw the options of a decision: their learning curves so far, and the quantiles predicted for the rest.

    Raises:
        HPO4DLError: matplotlib is not installed, or nothing was predicted for that decision.
    """
    figure = new_figure()
    if not explanation.options:
        raise HPO4DLError(f'decision {explanation.step}: {explanation.not_weighed()}')
    with styled():
        n = min(len(explanation.options), 6)
        rows = -(-n // 3)
        figure.set_size_inches(13, 3.4 * rows + 0.6)
        chosen = explanation.chosen
        title = f'{run.name}  ·  decision {explanation.step}: trial {chosen.id} to epoch {chosen.epoch}'
        figure.suptitle(panels.label(title, 140), x=0.01, ha='left', weight='bold', size=12)
        drawn = list(figure.subplots(rows, min(n, 3), squeeze=False, sharex=True, sharey=True).flat)
        for place, (axes, option) in enumerate(zip(drawn, explanation.options)):
            color = panels.RED if place == 0 else panels.BLUE
            low, median, high = option.forecast
            axes.fill_between(option.epochs, low, high, color=color, alpha=0.18, linewidth=0, label='5% to 95%')
            axes.plot(option.epochs, median, color=color, linewidth=1.2, linestyle='--', label='predicted')
            axes.plot(list(option.values), list(option.values.values()), color=color, marker='.', label='so far')
            if explanation.threshold is not None:
                axes.axhline(explanation.threshold, color=panels.GRAY, linewidth=1, linestyle=':', label='to beat')
            at, (least, most) = option.target_epoch, option.at_horizon()[::2]
            axes.vlines(at, least, most, color='black', linewidth=1.4, label='judged at')
            axes.plot(at, option.at_horizon()[1], 'D', color='black', markersize=4)
            gain = 'the largest gain' if place == 0 else f'{option.relative_ei:.2f} of its gain'
            axes.set_title(f'{"picked: " if place == 0 else ""}{option.name()}, {gain}')
        metrics = [q for option in explanation.options for q in [*option.forecast.flat, *option.values.values()]]
        for axes in drawn[:n]:
            panels.epoch_axis(axes, run.max_epochs, 'epoch of the trial')
            panels.metric_axis(axes, run, metrics, note=False)
            axes.label_outer()
        for axes in drawn[n:]:
            axes.set_axis_off()
        drawn[0].legend()
        note = 'gain: the improvement on the dotted line (best metric and margin) that is expected at the black mark'
        figure.supxlabel(note, x=0.01, ha='left', size=8, color='#555555')
    return figure


def image(figure: Figure, form: str, dpi: int) -> bytes:
    """Return a figure in one of matplotlib's formats."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*[Gg]lyph')  # a script that the font lacks shows as boxes
        content = io.BytesIO()
        figure.savefig(content, dpi=dpi, format=form)
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the format follows from the name.

    Raises:
        ArgumentError: matplotlib does not know the format, or the file cannot be written.
    """
    try:
        write_output(path, image(figure, path.suffix[1:] or 'png', dpi=150))
    except (OSError, ValueError) as error:
        raise ArgumentError('output', str(path), f'a file that can be written, .png or .svg ({error})') from error


def new_figure() -> Figure:
    """Return an empty figure without a window."""
    figure: Figure = import_extra('matplotlib.figure', 'plot').Figure(layout='constrained')
    return figure


def styled() -> Any:
    """Return a context manager with the matplotlib settings of these figures."""
    import matplotlib

    return matplotlib.rc_context(STYLE)
