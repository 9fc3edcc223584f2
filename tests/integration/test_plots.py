"""The pictures: they are drawn for every run that can be read, and show what it holds. How they look is for eyes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from runs import hostile, large, tuned, written

from hpo4dl import ArgumentError, HPO4DLError
from hpo4dl.analysis.run import Run, read_run

pytest.importorskip('matplotlib')

from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.image import imread

from hpo4dl.analysis import charts, panels, plots
from hpo4dl.analysis.importance import Importance


def size(path: Path) -> tuple[int, int]:
    """Pixels, of an image that is not empty paper."""
    image = imread(path)
    assert image.std() > 0.05
    return image.shape[:2]


def test_a_page_of_panels_as_png_and_svg(tmp_path: Path) -> None:
    run = read_run(tuned(tmp_path / 'runs'))
    figure = plots.draw(run, importance=Importance(1, 50, {'lr': 0.7, 'width': 0.3}, ['momentum']))
    plots.save(figure, tmp_path / 'run.png')
    plots.save(figure, tmp_path / 'run.svg')
    assert size(tmp_path / 'run.png')[1] == 2100
    svg = (tmp_path / 'run.svg').read_text(encoding='utf-8')
    assert svg.startswith('<?xml')
    titles = [axes.get_title(loc='left') for axes in figure.axes]
    for name in ('Learning curves', 'lr', 'momentum', 'optimizer', 'size', 'width', 'Importance at epoch 1'):
        assert any(title.startswith(name) for title in titles)
    by_name = dict(zip(titles, figure.axes))
    assert by_name['lr'].get_xscale() == by_name['width'].get_xscale() == 'log'
    assert by_name['momentum'].get_xscale() == 'linear'
    low, high = by_name['lr'].get_xlim()
    assert low < 1e-5 < 1e-1 < high
    assert pyplot.get_fignums() == [], 'a picture must not leave a window behind'


@pytest.mark.parametrize(
    'make',
    [
        hostile,
        lambda folder: large(folder, 600),
        lambda folder: written(folder, [({'x': 1.0}, [0.5], None)]),
        lambda folder: written(folder, [({'x': 1.0}, [0.5], None), ({'x': 2.0}, [], 'broke')], stop=False),
        lambda folder: written(folder, [({'x': float(i)}, [1e34 if i == 3 else 0.5], None) for i in range(5)]),
        lambda folder: written(folder, [({'x': float(i)}, [0.0, 0.0], None) for i in range(5)]),
        lambda folder: written(folder, [({'x': i % 2 == 0, 'y': 'a' if i else 1}, [i / 7], None) for i in range(5)]),
        lambda folder: written(folder, [({f'x{i}': i / 30 for i in range(30)}, [0.5], None)]),
    ],
    ids=['hostile', 'many', 'one', 'running', 'diverged', 'constant', 'mixed', 'wide'],
)
def test_draws_what_can_be_read(tmp_path: Path, make) -> None:
    plots.save(plots.draw(read_run(make(tmp_path / 'run'))), tmp_path / 'run.png')
    assert size(tmp_path / 'run.png')[1] == 2100


def test_best_so_far_is_the_running_minimum(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    metrics = rng.random((6, 4))
    run = read_run(written(tmp_path / 'run', [({'x': float(i)}, list(row), None) for i, row in enumerate(metrics)]))
    axes = Figure().add_subplot()
    panels.best_so_far(axes, [run])
    line = axes.get_lines()[0]
    shown = dict(zip(line.get_xdata(), line.get_ydata()))
    best = np.minimum.accumulate(metrics.ravel())
    for spent, value in shown.items():
        assert value == best[spent - 1]
    assert max(shown) == 24


def test_limits_hold_the_good_ones_however_bad_the_others(tmp_path: Path) -> None:
    run = read_run(written(tmp_path / 'run', [({'x': 1.0}, [0.5], None)]))
    assert charts.limits(run, [0.1, 0.2, 0.3]) == charts.Axis(0.1, 0.3)
    axis = charts.limits(run, [0.1 + 0.01 * i for i in range(20)] + [1e34])
    assert (axis.low, axis.outside) == (0.1, 1)
    assert 0.29 < axis.high < 1
    run.minimize = False
    axis = charts.limits(run, [0.9 - 0.01 * i for i in range(20)] + [-1e34])
    assert (axis.high, axis.outside) == (0.9, 1)
    assert 0 < axis.low < 0.71


@pytest.mark.parametrize('n', [1, 2, 7, 10, 101])
def test_limits_are_those_of_numpys_quantile(tmp_path: Path, n: int) -> None:
    run = read_run(written(tmp_path / 'run', [({'x': 1.0}, [0.5], None)]))
    metrics = np.random.default_rng(n).standard_cauchy(n)
    axis = charts.limits(run, metrics.tolist())
    best, common, worst = metrics.min(), np.quantile(metrics, 0.9), metrics.max()
    assert axis.low == best
    assert axis.high == pytest.approx(worst if worst - best <= 4 * (common - best) else 1.5 * common - 0.5 * best)


def test_ticks_are_round_and_on_the_axis() -> None:
    assert charts.Axis(0, 1).ticks(5) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert charts.Axis(-3, 17).ticks(4) == [0, 5, 10, 15]
    assert charts.Axis(1, 3).ticks(9, whole=True) == [1, 2, 3]
    assert charts.Axis(0.02, 3, log=True).ticks(5) == [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]
    assert charts.Axis(1e-5, 0.1, log=True).ticks(5) == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    assert charts.Axis(2, 2).ticks(5) == [2]
    assert charts.Axis(0.3, 30, log=True).ticks(5, whole=True) == [1, 2, 5, 10, 20]
    assert charts.epoch_ticks(27, 6) == [1, 5, 10, 15, 20, 25]
    assert charts.epoch_ticks(1, 6) == [1]
    assert charts.epoch_ticks(27, 6, first=14) == [15, 20, 25]


def test_integers_have_whole_ticks(tmp_path: Path) -> None:
    told = [{'name': 'layers', 'type': 'UniformInteger', 'lower': 1, 'upper': 3}]
    told.append({'name': 'width', 'type': 'UniformInteger', 'lower': 1, 'upper': 1000, 'log': True})
    curves = [({'layers': i % 3 + 1, 'width': 3 * i + 1}, [0.5 + i / 100], None) for i in range(30)]
    run = read_run(written(tmp_path / 'run', curves, hyperparameters=told))
    figure = plots.draw(run)
    panels = {axes.get_title(loc='left'): axes for axes in figure.axes}
    assert list(panels['layers'].get_xticks()) == [1, 2, 3]
    assert all(float(tick).is_integer() for tick in panels['width'].get_xticks())
    for column in charts.parallel_columns(run)[:-1]:
        assert all(float(value).is_integer() for _, value in column.marks)


def test_the_race_of_the_best_fills_its_own_panel(tmp_path: Path) -> None:
    curves = [({'x': float(i)}, [0.1, 0.5, 0.8, 0.860 + 0.002 * i], None) for i in range(20)]
    run = read_run(written(tmp_path / 'run', curves, minimize=False))
    axes = next(axes for axes in plots.draw(run).axes if axes.get_title(loc='left') == 'The best 6, closer')
    low, high = axes.get_ylim()
    best, sixth = 0.898, 0.888
    assert low < sixth < best < high
    assert (best - sixth) / (high - low) > 0.4
    (line,) = [line for line in axes.get_lines() if line.get_marker() == 'o' and line.get_color() == panels.RED]
    assert (line.get_xdata()[0], line.get_ydata()[0]) == (4, pytest.approx(best)), 'the dot is where the best is'


def test_the_race_of_noisy_metrics_is_not_cut_through(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noisy = [[*np.linspace(3, 0.5, 20), *random.uniform(0.1, 0.5, 60)] for _ in range(6)]
    curves = [({'x': float(i)}, metrics, None) for i, metrics in enumerate(noisy)]
    run = read_run(written(tmp_path / 'run', curves))
    axis = charts.metric_axis(run, charts.zoom_metrics(run))
    late = np.array(noisy)[:, 60:]
    assert (late < axis.high).mean() >= 0.75
    assert axis.high < 0.6, 'the beginning is not part of it'
    first, last = charts.zoom_epochs(run)
    assert all(min(metrics[: first - 1]) > axis.high for metrics in noisy), 'nor are its epochs'
    assert (last, charts.page_data(run)['charts']['zoom_epochs']['low']) == (80, first - 0.3)


def test_an_axis_of_numbers_has_two_ticks_at_least(tmp_path: Path) -> None:
    curves = [({'momentum': x, 'lr': 10 * x}, [x], None) for x in (0.1, 0.5, 0.99)]
    run = read_run(written(tmp_path / 'run', curves))
    for scatter in charts.page_data(run)['charts']['scatters']:
        assert len(scatter['x']['ticks']) >= 2


def test_one_scale_of_colors_has_one_meaning(tmp_path: Path) -> None:
    run = read_run(tuned(tmp_path))
    figure = plots.draw(run)
    shades = panels.epoch_colors(run)
    by_name = {axes.get_title(loc='left'): axes for axes in figure.axes}
    lines = by_name['Configurations, the better ones drawn last'].collections[0].get_colors()
    worst_first = run.ranked()[::-1]
    for color, trial in zip(lines, worst_first):
        assert tuple(color[:3]) == shades.to_rgba(trial.epoch)[:3]
    for color, trial in zip(by_name['lr'].collections[0].get_facecolors(), worst_first):
        assert tuple(color[:3]) == shades.to_rgba(trial.epoch)[:3]
    assert [axes.get_ylabel() for axes in figure.axes].count('trained to epoch') == 1


def test_metrics_have_their_name(tmp_path: Path) -> None:
    run = read_run(tuned(tmp_path, metric_name='validation loss'))
    labels = {axes.get_ylabel() for axes in plots.draw(run).axes}
    assert {'validation loss (smaller is better)', 'best validation loss'} <= labels
    assert not any('metric' in text for text in labels)


def test_losses_over_decades_are_drawn_by_their_logarithm(tmp_path: Path) -> None:
    curves = [({'x': float(i)}, [10.0**-i], None) for i in range(9)]
    run = read_run(written(tmp_path / 'run', curves))
    figure = plots.draw(run)
    panels = {axes.get_title(loc='left'): axes for axes in figure.axes}
    for title in ('Learning curves', 'Best so far, over epochs', 'x'):
        low, high = panels[title].get_ylim()
        assert panels[title].get_yscale() == 'log'
        assert low < 0.5e-8 < 1e-8 < high, 'the best one must not lie on the frame'
    lines = panels['Configurations, the better ones drawn last'].collections[0].get_segments()
    heights = [line[-1][1] for line in lines if line[-1][1] < 1]
    assert np.ptp(np.diff(heights)) < 1e-9, 'equal factors are equal distances'
    run.minimize = False
    assert plots.draw(run).axes[0].get_yscale() == 'linear'


def test_runs_side_by_side(tmp_path: Path) -> None:
    runs = [read_run(written(tmp_path / str(i), [({'x': 1.0}, [0.9, 0.5 + i], None)])) for i in range(9)]
    plots.save(plots.draw_comparison(runs), tmp_path / 'compared.png')
    assert size(tmp_path / 'compared.png') == (675, 1950)


def test_errors(tmp_path: Path) -> None:
    empty: Run = read_run(written(tmp_path / 'empty', []))
    with pytest.raises(HPO4DLError, match='nothing to draw'):
        plots.draw_comparison([empty, empty])
    with pytest.raises(HPO4DLError, match='nothing to draw'):
        plots.draw(empty)
    run = read_run(written(tmp_path / 'run', [({'x': 1.0}, [0.5], None)]))
    for name in ('run.docx', 'none/run.png'):
        with pytest.raises(ArgumentError, match='output'):
            plots.save(plots.draw_comparison([run]), tmp_path / name)


SIZES = [(1.7e308, -1.7e308), (5e-324, 1.5e-323), (5e-324, 1.7e308), (1e-320, 0.0), (7.0, 7.0)]


@pytest.mark.parametrize('metrics', SIZES)
@pytest.mark.parametrize('minimize', [True, False])
def test_metrics_of_any_size_can_be_drawn(tmp_path: Path, metrics: tuple[float, float], minimize: bool) -> None:
    curves = [({'lr': 0.001 * (1 + n)}, [metrics[n % 2], metrics[0]], None) for n in range(12)]
    run = read_run(written(tmp_path / 'run', curves, minimize=minimize))
    json.dumps(charts.page_data(run), allow_nan=False)
