"""Exports, each read back with the tool that it is for."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path

import pytest
from ConfigSpace import ConfigurationSpace
from runs import HOSTILE, hostile, space, tuned, written

from hpo4dl import ArgumentError, HPO4DLError
from hpo4dl.analysis.export import export
from hpo4dl.analysis.importance import importance, importance_text
from hpo4dl.analysis.run import Run, read_run
from hpo4dl.space.serialization import describe, read_space


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(tuned(tmp_path_factory.mktemp('runs')))


def test_csv(run: Run, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(export(run, 'csv'))))
    epochs = [row for row in rows if row['epoch']]
    assert [float(row['metric']) for row in epochs] == [o.metric for o in run.observations]
    for row in epochs:
        assert float(row['info.half']) == int(row['epoch']) / 2
        configuration = run.trials[int(row['trial'])].configuration
        assert {name: row[f'configuration.{name}'] for name in configuration} == {
            name: str(value) for name, value in configuration.items()
        }
        assert (row['configuration.momentum'] == '') == ('momentum' not in configuration)
    failed = [int(row['trial']) for row in rows if row['failed']]
    assert failed == [trial.id for trial in run.trials.values() if trial.failed]
    assert export(run, 'csv', str(tmp_path / 'run.csv')) is None
    assert (tmp_path / 'run.csv').read_text(encoding='utf-8') == export(run, 'csv')


def test_json(run: Run) -> None:
    told = json.loads(export(run, 'json'))
    assert told['incumbent']['metric'] == min(min(trial['metrics'], default=math.inf) for trial in told['trials'])
    assert [len(trial['epochs']) for trial in told['trials']] == [t.epoch for t in run.trials.values()]


def test_configspace(run: Run) -> None:
    assert describe(read_space(export(run, 'configspace'))) == describe(space())


def test_parquet(run: Run, tmp_path: Path) -> None:
    parquet = pytest.importorskip('pyarrow.parquet')
    export(run, 'parquet', str(tmp_path / 'run.parquet'))
    columns = parquet.read_table(tmp_path / 'run.parquet').to_pydict()
    rows = list(csv.DictReader(io.StringIO(export(run, 'csv'))))
    assert set(columns) == set(rows[0])
    assert columns['metric'] == [float(row['metric']) if row['metric'] else None for row in rows]
    mixed = written(tmp_path / 'mixed', [({'x': 1, 'y': True}, [0.5], None), ({'x': 'a', 'y': 2.5}, [0.4], None)])
    export(read_run(mixed), 'parquet', str(tmp_path / 'mixed.parquet'))
    columns = parquet.read_table(tmp_path / 'mixed.parquet').to_pydict()
    assert columns['configuration.x'] == ['1', '"a"']
    assert columns['configuration.y'] == ['true', '2.5']


@pytest.mark.parametrize('name', ['study.log', 'study.db'])
def test_optuna_reads_the_study(run: Run, tmp_path: Path, name: str) -> None:
    optuna = pytest.importorskip('optuna')
    export(run, 'optuna', str(tmp_path / name))
    storage = f'sqlite:///{tmp_path / name}'
    if name.endswith('.log'):
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / name)))
    study = optuna.load_study(study_name=run.name, storage=storage)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert study.best_value == run.incumbent.metric
    assert study.best_params == run.trials[run.incumbent.trial].configuration
    for theirs, ours in zip(study.trials, run.trials.values()):
        assert theirs.params == ours.configuration
        assert theirs.intermediate_values == ours.metrics
        assert (theirs.state == optuna.trial.TrialState.FAIL) == (ours.failed is not None)
        assert theirs.duration.total_seconds() == pytest.approx(ours.ended - ours.began, abs=1e-5)
    lr = next(trial for trial in study.trials if trial.params).distributions['lr']
    assert lr == optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)
    with pytest.raises(ArgumentError, match='without a study'):
        export(run, 'optuna', str(tmp_path / name))


def test_optuna_takes_hostile_names(tmp_path: Path) -> None:
    optuna = pytest.importorskip('optuna')
    run = read_run(hostile(tmp_path / 'run'))
    export(run, 'optuna', str(tmp_path / 'study.log'))
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / 'study.log')))
    study = optuna.load_study(study_name=run.name, storage=storage)
    assert set(study.trials[0].params) == set(HOSTILE)


def test_optuna_writes_through_a_link(run: Run, tmp_path: Path) -> None:
    """Optuna's own lock takes the link for the file."""
    optuna = pytest.importorskip('optuna')
    (tmp_path / 'link').symlink_to(tmp_path / 'study.log')
    export(run, 'optuna', str(tmp_path / 'link'))
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / 'study.log')))
    assert optuna.load_study(study_name=run.name, storage=storage).best_value == run.incumbent.metric
    assert (tmp_path / 'link').is_symlink()


@pytest.mark.parametrize('to', ['csv', 'json', 'parquet', 'optuna', 'configspace', 'deepcave'])
@pytest.mark.parametrize('kind', ['pipe', 'link', 'full', 'folder', 'nul', 'file', 'file.db', 'none/x.db', 'foo://x'])
def test_where_no_output_can_be_written_is_one_error(run: Run, tmp_path: Path, to: str, kind: str) -> None:
    pytest.importorskip({'parquet': 'pyarrow', 'optuna': 'optuna'}.get(to, 'json'))
    text = to in ('csv', 'json', 'parquet', 'configspace')
    if ('file' in kind and text) or (to == 'deepcave' and kind in ('none/x.db', 'foo://x')):
        pytest.skip('it can')
    output = tmp_path / kind
    if kind == 'pipe':
        os.mkfifo(output)
    elif kind == 'link':
        output.symlink_to(tmp_path / 'nowhere' / 'x')
    elif kind == 'folder':
        output.mkdir()
    elif 'file' in kind:
        output.write_text('mine')
    path = {'full': '/dev/full', 'nul': 'x\0y', 'foo://x': 'foo://x'}.get(kind, str(output))
    with pytest.raises(HPO4DLError):
        export(run, to, path)
    assert 'file' not in kind or output.read_text() == 'mine'


def test_importance_finds_what_matters(tmp_path: Path) -> None:
    pytest.importorskip('optuna')
    pytest.importorskip('sklearn')
    configurations = [{'a': i * 0.37 % 1, 'b': i * 0.61 % 1, 'c': i % 2} for i in range(60)]
    curves = [(c, [c['a'] + 0.1 * c['b']] + [c['b']] * (i < 20), None) for i, c in enumerate(configurations)]
    run = read_run(written(tmp_path / 'run', curves))
    found = importance(run, 1)
    assert (found.epoch, found.trials, found.left_out) == (1, 60, [])
    assert next(iter(found.shares)) == 'a'
    assert found.shares['a'] > 0.9
    found = importance(run)
    assert (next(iter(found.shares)), found.epoch, found.trials) == ('b', 2, 20), 'the last one that a fifth reached'
    with pytest.raises(HPO4DLError, match='at epoch 3 there are 0'):
        importance(run, 3)


def test_importance_says_what_it_leaves_out(tmp_path: Path) -> None:
    pytest.importorskip('optuna')
    pytest.importorskip('sklearn')
    configurations = [{'a': i / 20, **({'momentum': 0.9} if i % 2 else {})} for i in range(20)]
    found = importance(read_run(written(tmp_path / 'run', [(c, [c['a']], None) for c in configurations])))
    assert (list(found.shares), found.left_out) == (['a'], ['momentum'])
    assert 'momentum: cannot be assessed: conditional' in importance_text(found)


def test_deepcave_gets_the_folder_of_a_smac_run(run: Run, tmp_path: Path) -> None:
    """DeepCAVE 1.4.1 itself, which asks for other versions of everything (and redis < 5), shows it: checked by hand."""
    export(run, 'deepcave', str(tmp_path / 'run'))
    history = json.loads((tmp_path / 'run' / 'runhistory.json').read_text(encoding='utf-8'))
    configuration_space: ConfigurationSpace = read_space((tmp_path / 'run' / 'configspace.json').read_text('utf-8'))
    done = [entry for entry in history['data'] if entry['status'] == 1]
    assert [(e['config_id'] - 1, e['budget'], e['cost']) for e in done] == [
        (o.trial, o.epoch, [o.metric]) for o in run.observations
    ]
    assert len(history['data']) - len(done) == sum(trial.failed is not None for trial in run.trials.values())
    assert set(history['configs'][str(run.incumbent.trial + 1)]) <= set(configuration_space)
    assert [(e['time'], e['endtime']) for e in done] == [(o.seconds, o.elapsed) for o in run.observations]
    # DeepCAVE takes each entry's start for the run's, and refuses budgets that NumPy rounds to its integers.
    assert {(e['starttime'], type(e['budget'])) for e in history['data']} == {(0.0, float)}
    with pytest.raises(ArgumentError, match='does not exist'):
        export(run, 'deepcave', str(tmp_path / 'run'))


def test_errors(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="to: got 'xls'"):
        export(run, 'xls')
    with pytest.raises(HPO4DLError, match='cannot be written'):
        export(run, 'csv', str(tmp_path / 'none' / 'run.csv'))
    bare = read_run(written(tmp_path / 'bare', [({'x': 1.0}, [0.5], None)]))
    for name in ('configspace', 'deepcave'):
        with pytest.raises(HPO4DLError, match='this ConfigSpace cannot read it'):
            export(bare, name, str(tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()
