"""The command line, as typed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runs import tuned, written

from hpo4dl.integrations.extras import PACKAGES
from hpo4dl.tools.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tuned(tmp_path_factory.mktemp('runs')))


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    return tmp_path


def test_report(run: str, capsys: pytest.CaptureFixture) -> None:
    assert main(['report', run]) == 0
    text = capsys.readouterr().out
    assert 'stopped: max_budget: 100 epochs are trained' in text
    assert main(['report', run, '--json']) == 0
    best = json.loads(capsys.readouterr().out)['incumbent']
    assert f'incumbent  {best["configuration_id"]:>5}' in text
    for name, value in best['configuration'].items():
        assert f'\n  {name} = {value}\n' in text


def test_plot_and_compare(run: str, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    assert main(['plot', run]) == 0
    assert capsys.readouterr().out == f'{Path(run).name}.png\n'
    assert (tmp_path / f'{Path(run).name}.png').read_bytes().startswith(b'\x89PNG')
    assert main(['compare', run, run, '-o', 'both.svg']) == 0
    assert capsys.readouterr().out.count('asha') == 2  # on a line below, where a row is wider than the terminal
    assert '<svg' in (tmp_path / 'both.svg').read_text(encoding='utf-8')


def test_plot_html_needs_nothing_else(run: str, tmp_path: Path) -> None:
    assert main(['plot', run, '--html', '-o', 'page.html']) == 0
    assert '<!doctype html>' in (tmp_path / 'page.html').read_text(encoding='utf-8')
    assert main(['plot', run, '-o', 'other.html']) == 0
    assert (tmp_path / 'other.html').read_bytes() == (tmp_path / 'page.html').read_bytes()


def test_explain(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip('matplotlib')
    folder = str(tuned(tmp_path, optimizer='dyhpo', max_budget=40, num_configurations=30))
    assert main(['explain', folder, '--step', '3']) == 0
    assert 'decision 3: train trial' in capsys.readouterr().out
    assert main(['explain', folder]) == 0
    assert 'decision 40: train trial' in capsys.readouterr().out
    assert main(['explain', folder, '--step', '23', '-o', 'why.svg']) == 0
    assert '<svg' in (tmp_path / 'why.svg').read_text(encoding='utf-8')
    assert main(['explain', folder, '--step', '41']) == 1


def test_export(run: str, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert main(['export', run, '--to', 'csv']) == 0
    assert capsys.readouterr().out.startswith('trial,epoch,metric')
    assert main(['export', run, '--to', 'deepcave']) == 0
    assert (tmp_path / f'{Path(run).name}-deepcave' / 'runhistory.json').exists()


def test_resume(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tuned(tmp_path / 'runs', max_budget=10)
    (tmp_path / 'mine.py').write_text('from runs import objective as train\n')
    assert main(['resume', str(folder), 'mine:train', '--max-budget', '20']) == 0
    assert 'epochs   20 spent on' in capsys.readouterr().err
    for name in ('mine', 'mine:none', 'none:train', ':'):
        assert main(['resume', str(folder), name]) == 1
        assert 'MODULE:NAME' in capsys.readouterr().err


def test_resume_elsewhere_and_replay(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tuned(tmp_path / 'runs', max_budget=10)
    (tmp_path / 'mine_elsewhere.py').write_text(
        'from concurrent.futures import ThreadPoolExecutor\n'
        'from runs import objective as train\n'
        'threads = ThreadPoolExecutor(2)\n'
    )
    options = ['--num-workers', '2', '--executor', 'mine_elsewhere:threads', '--retry', '1', '--max-budget', '30']
    with open(folder / 'journal.jsonl', 'a', encoding='utf-8') as journal:
        journal.write('not a line\n' * 2)
    assert main(['resume', str(folder), 'mine_elsewhere:train', *options]) == 1
    assert 'line' in capsys.readouterr().err
    assert main(['resume', str(folder), 'mine_elsewhere:train', *options, '--salvage']) == 0
    assert 'epochs   30 spent on' in capsys.readouterr().err
    assert main(['resume', str(folder), 'mine_elsewhere:train', '--executor', 'mine_elsewhere:none']) == 1
    assert 'executor: got' in capsys.readouterr().err
    assert main(['resume', str(folder), 'mine_elsewhere:train', '--num-workers', '0']) == 1
    assert 'num_workers: got 0' in capsys.readouterr().err


def test_replay(run: str, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert main(['replay', run]) == 0
    lines = (Path(run) / 'journal.jsonl').read_text(encoding='utf-8').splitlines()
    starts = sum(json.loads(line)['event'] == 'start' for line in lines)
    assert capsys.readouterr().out.startswith(f'{starts} decisions')
    other = shutil.copytree(run, tmp_path / 'other')
    settings = json.loads((other / 'settings.json').read_text(encoding='utf-8'))
    settings['settings']['seed'] += 1
    (other / 'settings.json').write_text(json.dumps(settings), encoding='utf-8')
    assert main(['replay', str(other)]) == 1
    assert 'line 2: the run took' in capsys.readouterr().err


def test_check_executor(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'pools.py').write_text(
        'from concurrent.futures import Future, ThreadPoolExecutor\n'
        'def threads():\n'
        '    return ThreadPoolExecutor(3)\n'
        'class losing:\n'
        '    def submit(self, function, *arguments):\n'
        '        return Future()\n'
    )
    assert main(['check-executor', 'pools:threads', '--num-workers', '3', '--folder', str(tmp_path)]) == 0
    assert 'ok      3 calls run at once' in capsys.readouterr().out
    assert main(['check-executor', 'pools:losing', '--seconds', '0.1']) == 1
    captured = capsys.readouterr()
    assert 'FAILED  2 calls run at once' in captured.out
    assert captured.err == 'hpo4dl: 5 of 5 checks failed\n'
    assert main(['check-executor', 'pools:none']) == 1
    assert 'executor: got' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [['report'], ['report', '--json'], ['plot', '--html'], ['export', '--to', 'csv']])
def test_an_error_is_one_line_and_reading_changes_nothing(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([arguments[0], str(tmp_path / 'none'), *arguments[1:]]) == 1
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.startswith('hpo4dl: ')
    assert captured.err.count('\n') == 1
    folder = written(tmp_path / 'run', [({'x': 1.0}, [0.5], None)])
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}
    for path in folder.iterdir():
        path.chmod(0o444)
    assert main([arguments[0], str(folder), *arguments[1:]]) == 0
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]} == before


@pytest.mark.parametrize('package', ['matplotlib', 'optuna', 'pyarrow'])
def test_a_missing_package_says_what_to_install(
    run: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    extra = {'matplotlib': 'plot', 'optuna': 'optuna', 'pyarrow': 'parquet'}[package]
    said = f'pip install {PACKAGES[extra]} '
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith(package + '.')]:
        monkeypatch.setitem(sys.modules, name, None)
    commands = {
        'plot': [['plot', run], ['compare', run, '-o', 'x.png']],
        'optuna': [['report', run, '--importance'], ['export', run, '--to', 'optuna']],
        'parquet': [['export', run, '--to', 'parquet']],
    }
    for arguments in commands[extra]:
        assert main(arguments) == 1
        assert said in capsys.readouterr().err


def test_as_a_program_in_a_pipe_and_in_ascii(run: str) -> None:
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONIOENCODING': 'ascii'}
    command = f'"{sys.executable}" -W error -m hpo4dl report "{run}" --json | head -c 1'
    done = subprocess.run(['bash', '-c', command], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ('{', '')


def test_every_command_of_the_documents_is_one(capsys: pytest.CaptureFixture) -> None:
    text = (ROOT / 'docs' / 'runs.md').read_text(encoding='utf-8')
    section = text.partition('## The command line')[2].partition('\n## ')[0]
    commands = [line.split()[1] for line in section.splitlines() if line.startswith('hpo4dl ')]
    assert len(commands) >= 8
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main([command, '--help'])
        assert stop.value.code == 0
