"""Beginning with what a previous run found, in the same space and in changed ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ConfigSpace.hyperparameters as kinds
import pytest
from ConfigSpace import EqualsCondition, ForbiddenEqualsClause
from spaces import build

import hpo4dl
from hpo4dl import Tuner, warm_start
from hpo4dl.space.unit_cube import Space


def lr(lower: float = 1e-4, upper: float = 1.0, **options: Any) -> Any:
    return kinds.UniformFloatHyperparameter('lr', lower, upper, log=True, **options)


def width(lower: int = 8, upper: int = 512) -> Any:
    return kinds.UniformIntegerHyperparameter('width', lower, upper, default_value=(lower + upper) // 2)


def optimizer(*choices: str) -> Any:
    return kinds.CategoricalHyperparameter('optimizer', choices, default_value=choices[0])


def momentum() -> Any:
    return kinds.UniformFloatHyperparameter('momentum', 0.0, 0.99, default_value=0.9)


def conditional(*hyperparameters: Any) -> Any:
    chosen, own = optimizer('sgd', 'adam'), momentum()
    return build([*hyperparameters, chosen, own], [EqualsCondition(own, chosen, 'sgd')])


def run(folder: Path, space: Any, configurations: list[dict[str, Any]], minimize: bool = True) -> Path:
    """A run that tried these configurations, each worse than the one before; what has lr = 0.5 failed."""
    sign = 1 if minimize else -1

    def objective_function(configuration: dict[str, Any], epoch: int, previous_epoch: int, path: str) -> Any:
        if configuration['lr'] == pytest.approx(0.5):
            return [{'epoch': 1, 'metric': -1e9 * sign}, {'epoch': 2, 'metric': float('nan')}]
        number = next(i for i, c in enumerate(configurations) if c['lr'] == pytest.approx(configuration['lr']))
        return [{'epoch': i, 'metric': sign * (number + 1 / i)} for i in range(previous_epoch + 1, epoch + 1)]

    tuner = Tuner(
        objective_function, space, max_epochs=2, max_budget=2 * len(configurations), optimizer='random',
        minimize=minimize, initial_configurations=configurations[::-1], output_path=folder,
    )  # fmt: skip
    tuner.run()
    return tuner.run_folder


OLD = [
    {'lr': 0.01, 'width': 64, 'optimizer': 'sgd', 'momentum': 0.5},
    {'lr': 0.1, 'width': 400, 'optimizer': 'adam'},
    {'lr': 0.5, 'width': 32, 'optimizer': 'adam'},
    {'lr': 0.2, 'width': 16, 'optimizer': 'sgd', 'momentum': 0.8},
]
GOOD = [OLD[0], OLD[1], OLD[3]]


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp('runs'), conditional(lr(), width()), OLD)


def approx(configurations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: pytest.approx(v) if isinstance(v, float) else v for k, v in c.items()} for c in configurations]


@pytest.mark.parametrize('minimize', [True, False])
def test_the_same_space_takes_the_best_as_they_were(tmp_path: Path, minimize: bool) -> None:
    space = conditional(lr(), width())
    start = warm_start(run(tmp_path, space, OLD, minimize), space)
    assert start.configurations == approx(GOOD), 'ordered by metric, the failed one left out'
    momentum = 'momentum: 2 of 3 kept; 1 of 3 inactive'
    assert set(start.notes) == {'lr: kept', 'width: kept', 'optimizer: kept', momentum}


def test_a_new_run_begins_with_them(folder: Path, tmp_path: Path) -> None:
    space, seen = conditional(lr(), width()), []

    def objective_function(configuration: dict[str, Any], epoch: int, previous_epoch: int, path: str) -> Any:
        seen.append(configuration)
        return {'epoch': epoch, 'metric': len(seen)}

    start = warm_start(folder, space).configurations
    tuner = Tuner(objective_function, space, 1, 3, tmp_path, 'random', initial_configurations=start)
    tuner.run()
    assert seen == approx(GOOD)


def test_count_takes_the_best(folder: Path) -> None:
    assert warm_start(folder, conditional(lr(), width()), count=1).configurations == approx(GOOD[:1])


def test_a_space_may_be_a_dictionary(folder: Path) -> None:
    start = warm_start(folder, {'lr': {'float': [0.05, 0.15]}}, count=1)
    assert start.configurations == [{'lr': pytest.approx(0.05)}]


def test_numbers_out_of_range_become_the_nearest_allowed(folder: Path) -> None:
    start = warm_start(folder, conditional(lr(0.05, 0.15), width(32, 128)))
    assert [(c['lr'], c['width']) for c in start.configurations] == [
        (pytest.approx(0.05), 64),
        (pytest.approx(0.1), 128),
        (pytest.approx(0.15), 32),
    ]
    assert 'lr: 2 of 3 the nearest allowed value; 1 of 3 kept' in start.notes


def test_what_is_new_unknown_or_gone_is_said(folder: Path) -> None:
    dropout = kinds.UniformFloatHyperparameter('dropout', 0.0, 0.5, default_value=0.1)
    start = warm_start(folder, build([lr(), dropout, optimizer('lion', 'adam')]))
    assert start.configurations == approx(
        [
            {'lr': 0.01, 'dropout': 0.1, 'optimizer': 'lion'},
            {'lr': 0.1, 'dropout': 0.1, 'optimizer': 'adam'},
            {'lr': 0.2, 'dropout': 0.1, 'optimizer': 'lion'},
        ]
    )
    text = str(start)
    assert text.startswith('configurations that carry over: 3\n')
    assert '  dropout: 0.1, the default\n' in text
    assert "  optimizer: 2 of 3 'lion', the default; 1 of 3 kept\n" in text
    assert '  width: dropped, it is not in the new space' in text
    assert '  momentum: dropped, it is not in the new space' in text


def test_conditions_of_the_new_space_hold(folder: Path) -> None:
    chosen, own = optimizer('sgd', 'adam'), momentum()
    start = warm_start(folder, build([lr(), chosen, own], [EqualsCondition(own, chosen, 'adam')]))
    assert ['momentum' in c for c in start.configurations] == [False, True, False]
    assert start.configurations[1]['momentum'] == pytest.approx(0.9)


def test_what_is_forbidden_or_has_become_the_same_is_left_out(folder: Path) -> None:
    chosen = optimizer('sgd', 'adam', 'lion')
    start = warm_start(folder, build([chosen], forbidden=[ForbiddenEqualsClause(chosen, 'adam')]))
    assert start.configurations == [{'optimizer': 'sgd'}]
    assert 'left out, since the new space forbids them: 1' in start.notes
    assert 'left out, since they have become the same as a better one: 1' in start.notes


def test_only_candidates_are_given(folder: Path) -> None:
    space = conditional(lr(), width())
    candidates = [{'lr': 0.3, 'width': 9, 'optimizer': 'adam'}, GOOD[1]]
    assert warm_start(folder, space, candidates=candidates).configurations == approx([GOOD[1]])


def test_a_type_that_changed_is_carried_where_it_can_be(folder: Path) -> None:
    ordinal = kinds.OrdinalHyperparameter('width', [16, 64, 256])
    whole = kinds.UniformIntegerHyperparameter('lr', 1, 5)
    quantized = kinds.UniformFloatHyperparameter('width', 0.5, 100.5)
    assert [c['width'] for c in warm_start(folder, build([lr(), ordinal])).configurations] == [64, 16, 16]
    assert [c['lr'] for c in warm_start(folder, build([whole, width()])).configurations] == [1, 1, 1]
    assert [c['width'] for c in warm_start(folder, build([lr(), quantized])).configurations] == [64, 100.5, 16]


def test_every_configuration_is_legal_in_every_space(folder: Path) -> None:
    spaces = [
        build([kinds.NormalFloatHyperparameter('lr', 0.5, 0.1, lower=0.15, upper=0.9), kinds.Constant('width', 7)]),
        build([kinds.CategoricalHyperparameter('lr', ['low', 'high']), kinds.Constant('optimizer', 'sgd')]),
        build([kinds.UniformIntegerHyperparameter('width', 100, 100_000, log=True)]),
        build([kinds.BetaFloatHyperparameter('momentum', alpha=2, beta=3, lower=0, upper=1)]),
    ]
    for space in spaces:
        found = warm_start(folder, space).configurations
        assert found
        for configuration in found:
            Space(space).to_unit(configuration)


def test_a_run_that_still_writes_can_be_read(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / 'run'
    copy.mkdir()
    for name in ('settings.json', 'journal.jsonl'):
        (copy / name).write_bytes((folder / name).read_bytes())
    with open(copy / 'journal.jsonl', 'ab') as file:
        file.write(b'{"event": "start", "attempt": 9, "tri')
    before = (copy / 'journal.jsonl').read_bytes()
    assert warm_start(copy, conditional(lr(), width())).configurations == approx(GOOD)
    assert (copy / 'journal.jsonl').read_bytes() == before


def test_a_run_without_results_gives_nothing(tmp_path: Path) -> None:
    space = build([lr()])
    tuner = Tuner(lambda c, e, p, path: {}, space, 1, 1, tmp_path, 'random')
    assert warm_start(tuner.run_folder, space).configurations == []


def test_errors_name_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(hpo4dl.JournalError, match='not the folder of a run'):
        warm_start(tmp_path, build([lr()]))
    (tmp_path / 'journal.jsonl').write_bytes((folder / 'journal.jsonl').read_bytes())
    with pytest.raises(hpo4dl.JournalError, match=r'holds no run to start from: settings\.json cannot be read'):
        warm_start(tmp_path, build([lr()]))
    with pytest.raises(hpo4dl.ArgumentError, match='count'):
        warm_start(folder, build([lr()]), count=0)
