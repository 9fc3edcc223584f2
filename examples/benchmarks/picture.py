"""Draw docs/pictures/suites.png and docs/pictures/comparison.png from the tables of RESULTS.md. Needs matplotlib.

    python examples/benchmarks/picture.py

The first shows the development suites, over epochs and over cost; the second what was kept back.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parents[1] / 'docs' / 'pictures'


class Panel(NamedTuple):
    heading: str
    """How a heading of RESULTS.md begins."""
    title: str
    costs: bool = False


SUITES = [
    Panel('### lcbench-easy:', 'LCBench, easy tasks'),
    Panel('### lcbench-hard:', 'LCBench, hard tasks'),
    Panel('### taskset:', 'TaskSet'),
    Panel('### tables:', 'AlexNet, DeBERTa'),
    Panel('### real:', 'small networks on real data'),
    Panel('### tables:', 'AlexNet, DeBERTa', costs=True),
    Panel('### real:', 'small networks on real data', costs=True),
]
KEPT_BACK = [
    Panel('### LCBench\n', 'LCBench: 8 tasks, 3 seeds'),
    Panel('### Real networks\n', 'AlexNet, ConvNeXt, DeBERTa, DeBERTa-v3: 5 seeds'),
]
STYLES = {
    'hpo4dl: DyHPO': ('#D55E00', '-', 'dyhpo', 'dyhpo'),
    'hpo4dl: ASHA': ('#E69F00', '-', 'asha', 'our ASHA'),
    'hpo4dl: Hyperband': ('#E69F00', '--', 'hyperband', 'our Hyperband'),
    'Syne Tune: Hyper-Tune': ('#0072B2', '-', 'syne-hypertune', 'Syne Tune 0.13 Hyper-Tune'),
    'Syne Tune: MOBSTER': ('#0072B2', '--', 'syne-mobster', 'Syne Tune 0.13 MOBSTER'),
    'Syne Tune: ASHA': ('#56B4E9', '-', 'syne-asha', 'Syne Tune 0.13 ASHA'),
    'Syne Tune: DyHPO': ('#56B4E9', '--', 'syne-dyhpo', 'Syne Tune 0.13 DyHPO'),
    'SMAC3': ('#009E73', '-', 'smac', 'SMAC3 2.4 multi-fidelity'),
    'DEHB': ('#CC79A7', '-', 'dehb', 'DEHB 0.1.2'),
    'Optuna': ('#CC79A7', '--', 'optuna', 'Optuna 5 TPE + Hyperband pruner'),
    'random search': ('#777777', ':', 'random', 'random search, full trainings'),
}
"""Color (Okabe and Ito's, for color-blind readers) and line of each tuner, and its names in RESULTS.md."""


def rows(text: str, panel: Panel) -> dict[str, dict[int, float]]:
    """The first table after a heading (over cost: the first such): regret by tuner and mark."""
    section = re.split(r'\n#+ ', text.partition(panel.heading)[2])[0]
    tables = [table.strip().splitlines() for table in re.findall(r'(?:^\|.*\n?)+', section, re.MULTILINE)]
    if panel.costs:
        tables = [lines for lines in tables if lines[0].startswith('| tuner | regret after the cost of')]
    if not tables:
        return {}
    heads, _, *body = [[cell.strip() for cell in line.strip('| ').split('|')] for line in tables[0]]
    marks = {i: int(found[0]) for i, head in enumerate(heads) if (found := re.findall(r'^(?:regret .* )?(\d+)$', head))}
    bare = lambda cell: cell.replace('*', '').split(' ± ')[0]  # noqa: E731
    return {
        bare(cells[0]): {mark: float(bare(cells[i])) for i, mark in marks.items() if bare(cells[i]) != '-'}
        for cells in body
    }


def draw(panels: list[Panel], file: Path, columns: int) -> None:
    text = (HERE / 'RESULTS.md').read_text(encoding='utf-8')
    drawn = [(panel, regret) for panel in panels if (regret := rows(text, panel))]
    height = -(-len(drawn) // columns)
    figure = Figure(figsize=(11, 1 + 4 * height if columns == 2 else 1 + 3 * height), layout='constrained')
    handles = {}
    for i, (panel, regret) in enumerate(drawn):
        axis = figure.add_subplot(height, columns, i + 1, xscale='log', yscale='log')
        for label, (color, line, *names) in STYLES.items():
            of_tuner = {mark: value for name in names for mark, value in regret.get(name, {}).items()}
            marks = [mark for mark, value in of_tuner.items() if (panel.costs or mark >= 50) and value > 0]
            ours = label == 'hpo4dl: DyHPO'
            if marks:
                (handles[label],) = axis.plot(
                    marks, [of_tuner[mark] for mark in marks], line, color=color, label=label,
                    linewidth=3.5 if ours else 1.6, marker='o', markersize=6 if ours else 3.5, zorder=3 if ours else 2,
                )  # fmt: skip
        axis.set(title=panel.title, xlabel='cost, in full trainings' if panel.costs else 'epochs trained')
        axis.xaxis.set_major_locator(FixedLocator([2, 4, 8, 16] if panel.costs else [50, 100, 200, 300, 500]))
        axis.yaxis.set_major_locator(FixedLocator([0.003, 0.01, 0.03, 0.05, 0.1, 0.2, 0.4, 0.8]))
        for each in (axis.xaxis, axis.yaxis):
            each.set_major_formatter('{x:g}')
            each.set_minor_locator(NullLocator())
        axis.grid(color='#dddddd', linewidth=0.6)
        axis.spines[['top', 'right']].set_visible(False)
        if i % columns == 0:
            axis.set_ylabel('mean regret (less is better)')
    shown = [handles[label] for label in STYLES if label in handles]
    figure.legend(handles=shown, loc='outside lower center', ncols=4, frameon=False)
    figure.savefig(file, dpi=110)
    print(file)


if __name__ == '__main__':
    draw(SUITES, PICTURES / 'suites.png', columns=3)
    draw(KEPT_BACK, PICTURES / 'comparison.png', columns=2)
