"""The timm example, with the real timm and torchvision, on data sets that are made here. `tox -e timm` runs it."""

from __future__ import annotations

import importlib.util
import itertools
import json
import multiprocessing
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from hpo4dl.integrations.torch_checkpoint import NAME

pytest.importorskip('timm', reason='needs timm: pip install ".[timm]"')
pytestmark = pytest.mark.filterwarnings('ignore')  # timm's and torchvision's own are not ours to mend

EXAMPLE = Path(__file__).parents[2] / 'examples' / 'timm_main.py'
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(EXAMPLE.parents[1])}
CONFIGURATION = {'lr': 0.01, 'weight_decay': 1e-4, 'model': 'test_convnext', 'opt': 'adamw', 'rand_augment': 5}
SGD = {**CONFIGURATION, 'model': 'test_resnet', 'opt': 'sgd', 'momentum': 0.9}


@pytest.fixture(scope='module')
def timm_main() -> ModuleType:
    return load()


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location('timm_main', EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules['timm_main'] = module  # dataclasses and data loaders look it up
    spec.loader.exec_module(module)
    return module


def idx(array: np.ndarray) -> bytes:
    """The file format of MNIST: two zeros, the type (8: bytes), the number of dimensions, their sizes, the content."""
    return struct.pack(f'>HBB{array.ndim}I', 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def picture(label: int, number: int) -> np.ndarray:
    """(28, 28) a bar whose place tells the label, with noise that tells the number."""
    noise = np.random.default_rng([label, number]).integers(0, 100, (28, 28))
    noise[2 * label : 2 * label + 4] = 250
    return noise


@pytest.fixture(scope='module')
def fashion(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for a data set in the format of Fashion-MNIST: 60 images to train with, 20 to test."""
    folder = tmp_path_factory.mktemp('data')
    raw = folder / 'FashionMNIST' / 'raw'
    raw.mkdir(parents=True)
    for name, numbers in (('train', range(60)), ('t10k', range(60, 80))):
        images = np.stack([picture(i % 10, i) for i in numbers])
        (raw / f'{name}-images-idx3-ubyte').write_bytes(idx(images))
        (raw / f'{name}-labels-idx1-ubyte').write_bytes(idx(np.array([i % 10 for i in numbers])))
    options = f'--dataset torch/fashion_mnist --data-dir {folder} --val-fraction 0.25 --batch-size 16 --workers 0'
    return [*options.split(), '--max-epochs', '6', '--device', 'cpu', '--model', 'test_convnext', 'test_resnet']


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Options for folders of images: three classes to train with, of which two are in validation and test."""
    image = pytest.importorskip('PIL.Image')
    for split, labels in (('train', 'abc'), ('validation', 'bc'), ('test', 'bc')):
        for label, i in itertools.product(labels, range(8)):
            path = tmp_path / split / label / f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(picture('abc'.index(label), i).astype(np.uint8)).save(path)
    return ['--dataset', 'folder', '--data-dir', str(tmp_path), '--workers', '0', '--batch-size', '8']


@pytest.mark.parametrize(
    ('configuration', 'further'),
    [(CONFIGURATION, []), (SGD, []), (CONFIGURATION, ['--workers', '2']), (SGD, ['--amp'])],
    ids=['adamw', 'sgd', 'workers', 'amp'],
)
def test_three_epochs_and_three_more_are_six(
    timm_main: ModuleType, fashion: list[str], tmp_path: Path, configuration: dict[str, Any], further: list[str]
) -> None:
    objective = timm_main.Objective(timm_main.parse([*fashion, *further]))
    at_once, in_two = tmp_path / 'at_once', tmp_path / 'in_two'
    at_once.mkdir()
    in_two.mkdir()
    expected = objective(configuration, 6, 0, str(at_once))
    first = objective(configuration, 3, 0, str(in_two))
    torch.rand(3), random.random(), np.random.random()  # noqa: NPY002
    assert first + objective(configuration, 6, 3, str(in_two)) == expected
    models = [torch.load(folder / NAME, weights_only=True)['parts']['model'] for folder in (at_once, in_two)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    losses = [result['train_loss'] for result in expected]
    assert losses[-1] < losses[0], 'nothing was learned, so nothing was tested'


def test_the_objective_is_sent_without_its_images(timm_main: ModuleType, fashion: list[str], tmp_path: Path) -> None:
    objective = timm_main.Objective(timm_main.parse(fashion))
    expected = objective(CONFIGURATION, 1, 0, str(tmp_path))
    sent = pickle.dumps(objective)
    assert len(sent) < 10_000
    assert pickle.loads(sent)(CONFIGURATION, 1, 0, str(tmp_path)) == expected


def labels_and_images(loader: Any) -> list[tuple[int, bytes]]:
    return [(int(y), x.numpy().tobytes()) for images, labels in loader for x, y in zip(images, labels)]


def test_validation_is_put_aside_by_seed(timm_main: ModuleType, fashion: list[str]) -> None:
    def splits(seed: int) -> tuple[set[Any], ...]:
        data = timm_main.Data(timm_main.parse([*fashion, '--seed', str(seed)]))
        return tuple(set(labels_and_images(data.loader(s, CONFIGURATION))) for s in ('train', 'validation', 'test'))

    train, validation, test = splits(1)
    assert [len(train), len(validation), len(test)] == [45, 15, 20]
    assert len(train | validation | test) == 80, 'the splits have images in common'
    assert splits(1) == (train, validation, test)
    assert splits(2)[1] != validation
    assert splits(2)[2] == test


def test_a_subset_trains_with_so_many(timm_main: ModuleType, fashion: list[str]) -> None:
    data = timm_main.Data(timm_main.parse([*fashion, '--subset', '20']))
    sizes = [len(data.loader(split, CONFIGURATION).dataset) for split in ('train', 'validation', 'test')]
    assert sizes == [20, 10, 20]


def test_folders_of_images_number_their_classes_alike(timm_main: ModuleType, folders: list[str]) -> None:
    data = timm_main.Data(timm_main.parse(folders))
    found = {s: labels_and_images(data.loader(s, CONFIGURATION)) for s in ('train', 'validation', 'test')}
    assert {split: {label for label, _ in found[split]} for split in found} == {
        'train': {0, 1, 2},
        'validation': {1, 2},
        'test': {1, 2},
    }
    assert set(found['validation']) == set(found['test']) < set(found['train'])  # the same pictures were saved
    assert data.num_classes == 3


def test_folders_without_validation_and_test(timm_main: ModuleType, folders: list[str]) -> None:
    data = timm_main.Data(timm_main.parse([*folders, '--val-split', 'none', '--test-split', 'none']))
    train = labels_and_images(data.loader('train', CONFIGURATION))
    validation = labels_and_images(data.loader('validation', CONFIGURATION))
    assert [len(train), len(validation)] == [22, 2]
    assert not set(train) & set(validation)
    assert data.test is None


def test_the_command_resumes_and_tests_the_incumbent_once(
    timm_main: ModuleType,
    fashion: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    looked_at = []
    loader = timm_main.Data.loader
    monkeypatch.setattr(timm_main.Data, 'loader', lambda *a, **k: looked_at.append(a[1]) or loader(*a, **k))
    arguments = [*fashion, '--optimizer', 'random', '--max-epochs', '2', '--output-dir', str(tmp_path)]
    timm_main.main([*arguments, '--max-budget', '3'])
    assert looked_at.count('test') == 1
    assert looked_at[-1] == 'test'
    first = capsys.readouterr().out
    assert '45 images to train with, 15 for validation (put aside from train)' in first
    assert 'Its accuracy on the test images: 0.' in first or 'Its accuracy on the test images: 1.' in first

    resume = ['--resume', 'last', '--output-dir', str(tmp_path)]
    timm_main.main(resume)
    assert looked_at.count('test') == 1, 'nothing was trained, but the test images were looked at again'
    assert capsys.readouterr().out.splitlines()[1:] == first.splitlines()[1:]

    incumbent = timm_main.main([*resume, '--max-budget', '6'])
    assert '6 epochs' in capsys.readouterr().out
    (run,) = tmp_path.glob('experiment_*')
    tested = json.loads((run / 'test.json').read_text())
    assert {name: tested[name] for name in ('configuration_id', 'epoch')} == {
        name: incumbent[name] for name in ('configuration_id', 'epoch')
    }


def loads_images(ready: Connection) -> None:
    load().leave_signals_to_the_tuner(0)
    ready.send(None)
    time.sleep(300)


@pytest.mark.skipif(os.name != 'posix', reason='needs signals')
def test_what_loads_images_ends_by_sigterm_alone() -> None:
    """A loader sends it to what has not ended by itself, and waits for it at the exit."""
    context = multiprocessing.get_context('spawn')
    ready, sender = context.Pipe(duplex=False)
    process = context.Process(target=loads_images, args=(sender,), daemon=True)
    process.start()
    try:
        assert ready.poll(120)
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGUSR1)
        process.join(1)
        assert process.is_alive()
        process.terminate()
        process.join(60)
        assert not process.is_alive()
    finally:
        process.kill()


@contextmanager
def running_until(event: str, arguments: list[str], output: Path) -> Iterator[subprocess.Popen]:
    """The example, in a process group of its own, as a terminal starts it, when its journal tells of an event."""
    command = [sys.executable, EXAMPLE, *arguments, '--optimizer', 'random', '--workers', '2', '--max-budget', '200']
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    running = subprocess.Popen(
        [*command, '--output-dir', str(output)], env=ENVIRONMENT, start_new_session=True, **pipes
    )
    try:
        deadline = time.monotonic() + 300
        while not any(f'"{event}"' in journal.read_text() for journal in output.glob('*/journal.jsonl')):
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.skipif(os.name != 'posix', reason='needs process groups')
def test_ctrl_c_stops_after_the_call_and_the_run_goes_on(fashion: list[str], tmp_path: Path) -> None:
    """A terminal sends SIGINT to the processes that load images, too: the call must end all the same."""
    with running_until('result', fashion, tmp_path) as running:
        time.sleep(0.5)  # into the next call
        os.killpg(running.pid, signal.SIGINT)
        out, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    assert 'Interrupted. Go on with: python examples/timm_main.py --resume ' in out, out + errors
    (journal,) = tmp_path.glob('*/journal.jsonl')
    results = [json.loads(line) for line in journal.read_text().splitlines() if '"result"' in line]
    assert [result['failed'] for result in results] == [None] * len(results)
    go_on = [sys.executable, EXAMPLE, '--resume', 'last', '--output-dir', str(tmp_path)]
    go_on += ['--max-budget', str(6 * (len(results) + 1))]
    done = subprocess.run(go_on, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert f'{6 * (len(results) + 1)} epochs; max_budget' in done.stdout, done.stderr


@pytest.mark.skipif(os.name != 'posix', reason='needs process groups')
def test_another_ctrl_c_leaves_at_once_with_all_that_loads_images(fashion: list[str], tmp_path: Path) -> None:
    with running_until('start', [*fashion, '--max-epochs', '10000'], tmp_path) as running:
        for _ in range(20):  # Python loses what is raised while it forks, and this call forks all the time
            os.killpg(running.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                running.communicate(timeout=5)
                break
        assert running.returncode not in (0, None)
        with pytest.raises(ProcessLookupError):
            os.killpg(running.pid, 0)


def test_a_run_is_not_resumed_with_another_training(
    timm_main: ModuleType, fashion: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ['--optimizer', 'random', '--max-epochs', '1', '--max-budget', '1', '--output-dir', str(tmp_path)]
    timm_main.main([*fashion, *arguments])
    with pytest.raises(SystemExit):
        timm_main.parse(['--resume', 'last', '--output-dir', str(tmp_path), '--batch-size', '32'])
    assert '--batch-size: the run was started with 16' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        timm_main.parse(['--resume', str(tmp_path / 'nowhere')])
    assert 'nowhere' in capsys.readouterr().err


@pytest.mark.parametrize('dataset', ['folder', 'torch/fashion_mnist', 'torch/no_such'])
def test_a_data_set_that_is_not_there_is_named(timm_main: ModuleType, tmp_path: Path, dataset: str) -> None:
    with pytest.raises(SystemExit, match=f'--dataset {dataset}, --data-dir {tmp_path}: .'):
        timm_main.main(['--dataset', dataset, '--data-dir', str(tmp_path), '--no-download'])


def test_a_training_that_diverges_fails_its_trial_alone(
    timm_main: ModuleType, fashion: list[str], tmp_path: Path
) -> None:
    objective = timm_main.Objective(timm_main.parse(fashion))
    (result,) = objective({**SGD, 'lr': 1e30}, 3, 0, str(tmp_path))
    assert np.isnan(result['metric'])
