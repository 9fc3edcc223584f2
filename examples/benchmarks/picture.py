"""Draw docs/pictures/comparison.png from the tables of RESULTS.md, "What was kept back". Needs matplotlib.

python examples/benchmarks/picture.py
"""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

HERE = Path(__file__).resolve().parent
FILE = HERE.parents[1] / 'docs' / 'pictures' / 'comparison.png'
PANELS = {
    '### LCBench': 'LCBench: 8 tasks, 3 seeds',
    '### Real networks': 'AlexNet, ConvNeXt, DeBERTa, DeBERTa-v3: 5 seeds',
}
STYLES = {
    'dyhpo': ('hpo4dl: DyHPO', '#D55E00', '-'),
    'our ASHA': ('hpo4dl: ASHA', '#E69F00', '-'),
    'our Hyperband': ('hpo4dl: Hyperband', '#E69F00', '--'),
    'Syne Tune 0.13 Hyper-Tune': ('Syne Tune: Hyper-Tune', '#0072B2', '-'),
    'Syne Tune 0.13 MOBSTER': ('Syne Tune: MOBSTER', '#0072B2', '--'),
    'Syne Tune 0.13 ASHA': ('Syne Tune: ASHA', '#56B4E9', '-'),
    'Syne Tune 0.13 DyHPO': ('Syne Tune: DyHPO', '#56B4E9', '--'),
    'SMAC3 2.4 multi-fidelity': ('SMAC3', '#009E73', '-'),
    'DEHB 0.1.2': ('DEHB', '#CC79A7', '-'),
    'Optuna 5 TPE + Hyperband pruner': ('Optuna', '#CC79A7', '--'),
    'random search, full trainings': ('random search', '#777777', ':'),
}
"""Label, color (Okabe and Ito's, for color-blind readers) and line of each tuner."""


def rows(section: str) -> dict[str, dict[int, float]]:
    """The first table after a heading of RESULTS.md: regret by tuner and epoch."""
    after = (HERE / 'RESULTS.md').read_text(encoding='utf-8').partition(f'{section}\n')[2]
    lines = [line.strip('| ').replace('*', '').split(' | ') for line in re.findall(r'^\|.*', after, re.MULTILINE)]
    heads, found = lines[0], {}
    for cells in lines[2:]:
        if cells[0] == heads[0]:  # the next table
            break
        found[cells[0]] = {int(head): float(cell) for head, cell in zip(heads, cells) if head.isdigit()}
    return found


if __name__ == '__main__':
    figure = Figure(figsize=(11, 5), layout='constrained')
    left, right = axes = figure.subplots(1, 2, sharey=True)
    handles = {}
    for axis, (section, title) in zip(axes, PANELS.items()):
        for tuner, regret in rows(section).items():
            label, color, line = STYLES[tuner]
            ours = tuner == 'dyhpo'
            marks = [mark for mark in regret if mark >= 50]
            (handles[tuner],) = axis.plot(
                marks, [regret[mark] for mark in marks], line, color=color, label=label, linewidth=3.5 if ours else 1.6,
                marker='o', markersize=6 if ours else 3.5, zorder=3 if ours else 2,
            )  # fmt: skip
        axis.set(xscale='log', yscale='log', xlabel='epochs trained', title=title)
        axis.xaxis.set_major_locator(FixedLocator([50, 100, 200, 300, 500]))
        axis.xaxis.set_major_formatter('{x:g}')
        axis.yaxis.set_major_locator(FixedLocator([0.03, 0.05, 0.1, 0.2, 0.4]))
        axis.yaxis.set_major_formatter('{x:g}')
        for each in (axis.xaxis, axis.yaxis):
            each.set_minor_locator(NullLocator())
        axis.grid(color='#dddddd', linewidth=0.6)
        axis.spines[['top', 'right']].set_visible(False)
    left.set_ylabel('mean regret (less is better)')
    figure.legend(handles=[handles[tuner] for tuner in STYLES], loc='outside lower center', ncols=4, frameon=False)
    figure.savefig(FILE, dpi=110)
    print(FILE)
