"""The engines of clusters, the real ones, where they are installed: `tox -e clusters` installs what pip can.

Slurm has tests of its own in test_slurm.py.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ConfigSpace import ConfigurationSpace
from test_slurm import HAS_SLURM, SECONDS

from hpo4dl import Event, Tuner, check_executor

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / 'examples' / 'clusters'
DASK = {'n_workers': 2, 'threads_per_worker': 1, 'dashboard_address': None}


def command_of(script: Path) -> str:
    """The command that a script's own text says to type."""
    text = script.read_text(encoding='utf-8')
    told = ast.get_docstring(ast.parse(text)) if script.suffix == '.py' else text
    return re.search(r'^[# ]*(PYTHONPATH=examples .*)$', told, re.MULTILINE)[1]


@pytest.mark.parametrize('name', ['dask_cluster', 'mpi', 'slurm'])
def test_examples_race_as_they_tell(tmp_path: Path, name: str) -> None:
    pytest.importorskip('sklearn')
    pytest.importorskip({'dask_cluster': 'distributed', 'mpi': 'mpi4py', 'slurm': 'submitit'}[name])
    if name == 'mpi' and shutil.which('mpiexec') is None:
        pytest.skip('no mpiexec is installed')
    if name == 'slurm' and not HAS_SLURM:
        pytest.skip('no Slurm answers here')
    (tmp_path / 'examples').symlink_to(ROOT / 'examples')
    environment = {**os.environ, 'PATH': os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])}
    environment |= {'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1'}
    environment |= {'OMPI_MCA_rmaps_base_oversubscribe': '1', 'OMP_NUM_THREADS': '1'}
    command = command_of(CLUSTERS / f'{name}.py').replace('PYTHONPATH=examples', f'PYTHONPATH=examples:{ROOT}')
    subprocess.run(['bash', '-c', command], cwd=tmp_path, env=environment, check=True, timeout=2 * SECONDS)
    (journal,) = tmp_path.glob('hpo4dl_results/*/journal.jsonl')
    events = [json.loads(line) for line in journal.read_text(encoding='utf-8').splitlines()]
    assert events[-1]['reason'].startswith('max_budget')
    assert not [event for event in events if event.get('failed')]


def test_loky_passes() -> None:
    loky = pytest.importorskip('loky')
    checks = check_executor(lambda: loky.get_reusable_executor(max_workers=2), 2, kill=True, seconds=SECONDS)
    assert [check.problem for check in checks] == [None] * 7


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize('raw', [False, True])
def test_dask_passes(tmp_path: Path, raw: bool) -> None:
    """Its executor, and the client itself, whose futures are no futures of Python's."""
    distributed = pytest.importorskip('distributed')
    with distributed.LocalCluster(**DASK, local_directory=tmp_path) as cluster, distributed.Client(cluster) as client:
        executor = client if raw else client.get_executor(pure=False, retries=0)
        checks = check_executor(executor, 2, kill=True, seconds=SECONDS)
    assert [check.problem for check in checks] == [None] * 7


def slow(configuration: dict, epoch: int, previous_epoch: int, checkpoint_path: str) -> list[dict]:
    time.sleep(0.2)
    return [{'epoch': i + 1, 'metric': configuration['x']} for i in range(previous_epoch, epoch)]


@pytest.mark.filterwarnings('default')
def test_dask_without_workers_stops_the_run_resumable(tmp_path: Path) -> None:
    distributed = pytest.importorskip('distributed')
    dask = pytest.importorskip('dask')
    space = ConfigurationSpace({'x': (0.0, 1.0)})
    with (
        dask.config.set({'distributed.scheduler.no-workers-timeout': '1s'}),
        distributed.LocalCluster(**DASK, local_directory=tmp_path) as cluster,
        distributed.Client(cluster) as client,
    ):
        arguments = {'optimizer': 'asha', 'max_epochs': 9, 'max_budget': 10_000, 'output_path': tmp_path / 'runs'}

        def leave(event: Event) -> None:
            if event.epochs_spent >= 10:
                cluster.scale(0)

        tuner = Tuner(slow, space, executor=client, num_workers=2, progress=False, callbacks=[leave], **arguments)
        tuner.run()
    assert 'NoWorkerError' in tuner.stopped
    assert 10 <= tuner.epochs_spent < 10_000
    again = Tuner.resume(tuner.run_folder, slow, max_budget=tuner.epochs_spent + 1, progress=False)
    again.run()
    assert again.epochs_spent == tuner.epochs_spent + 1
