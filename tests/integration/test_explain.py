"""Decisions explained, against those that the run took."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from runs import content, tuned

from hpo4dl import ArgumentError, HPO4DLError
from hpo4dl.analysis.explain import explain, explanation_text
from hpo4dl.analysis.run import read_run
from hpo4dl.records.journal import encode_line


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned(tmp_path_factory.mktemp('runs'), optimizer='dyhpo', max_budget=60, num_configurations=100)


def starts(run: Path) -> list[dict]:
    lines = (run / 'journal.jsonl').read_text(encoding='utf-8').splitlines()
    events = [json.loads(line.rpartition(' ')[0] if not line.endswith('}') else line) for line in lines]
    return [event for event in events if event['event'] == 'start']


@pytest.mark.parametrize('step', [1, 10, *range(45, 51), None])
def test_the_first_option_is_what_the_run_trained(run: Path, step: int | None) -> None:
    before = content(run)
    explained = explain(run, step)
    assert content(run) == before
    taken = starts(run)
    event = taken[-1 if step is None else step - 1]
    assert explained.step == (step or len(taken))
    assert (explained.chosen.id, explained.chosen.epoch) == (event['trial'], event['epoch'])
    text = explanation_text(explained)
    assert f'decision {explained.step}: train trial {event["trial"]}' in text
    narrow = explanation_text(explained, width=40)  # whose table has no room for configurations
    assert all(f'{name}=' in narrow for name in explained.chosen.configuration)
    in_turn = not explained.chosen.previous_epoch and event['trial'] % 4 == 0  # README: every fourth configuration
    assert bool(explained.options) == (explained.step > 40 and not in_turn)  # the start takes fewer
    if not explained.options:
        assert 'nothing was weighed' in text
        return
    picked = explained.options[0]
    assert picked.trial == (event['trial'] if explained.chosen.previous_epoch else None)
    assert picked.configuration == explained.chosen.configuration
    assert picked.relative_ei == 1
    assert [option.relative_ei for option in explained.options] == sorted(
        (o.relative_ei for o in explained.options), reverse=True
    )
    read = read_run(run)
    for option in explained.options:
        low, median, high = option.at_horizon()
        assert low <= median <= high
        if option.trial is not None:
            curve = read.trials[option.trial].metrics
            assert option.values == {epoch: curve[epoch] for epoch in option.values}
            assert option.target_epoch > max(option.values)
    so_far = [o.metric for o in read.observations if o.spent < explained.step]  # a decision is an epoch here
    assert explained.best == min(so_far)
    assert explained.threshold < explained.best


def test_what_is_explained_by_default_is_a_decision_of_the_optimizer(run: Path, tmp_path: Path) -> None:
    """Where the rest of the budget is kept to train one trial to the end, nothing is weighed any more."""
    copy = Path(shutil.copytree(run, tmp_path / 'copy'))
    events = [json.loads(line) for line in (run / 'journal.jsonl').read_text(encoding='utf-8').splitlines()]
    last = max(i for i, event in enumerate(events) if event['event'] == 'start')
    events[last]['by'] = 'reserve'
    lines = [encode_line({name: v for name, v in event.items() if name != 'crc'}) for event in events]
    (copy / 'journal.jsonl').write_bytes(b''.join(lines))
    assert explain(copy).step == len(starts(run)) - 1


def test_what_cannot_be_explained(run: Path, tmp_path: Path) -> None:
    for step in (0, 10_000, 1.5):
        with pytest.raises(ArgumentError, match='step'):
            explain(run, step)
    with pytest.raises(HPO4DLError, match='ASHA predicts nothing'):
        explain(tuned(tmp_path), 3)


def test_it_is_drawn(run: Path, tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    from hpo4dl.analysis.plots import draw_explanation, save

    explained = explain(run, 50)
    figure = draw_explanation(explained, read_run(run))
    titles = [axes.get_title(loc='left') for axes in figure.axes if axes.get_title(loc='left')]
    assert len(titles) == len(explained.options)
    assert titles[0].startswith('picked')
    (dashed,) = [line for line in figure.axes[0].lines if line.get_label() == 'predicted']
    np.testing.assert_allclose(dashed.get_ydata(), explained.options[0].forecast[1])
    for axes, option in zip(figure.axes, explained.options):
        low, high = axes.get_xlim()
        assert low < option.target_epoch < high, 'where it was judged lies in the picture'
        (mark,) = [line for line in axes.lines if line.get_marker() == 'D']
        assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (option.target_epoch, option.at_horizon()[1])
    save(figure, tmp_path / 'why.png')
    with pytest.raises(HPO4DLError, match='nothing was weighed'):
        draw_explanation(explain(run, 2), read_run(run))
