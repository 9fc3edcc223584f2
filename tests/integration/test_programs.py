"""Programs as objective functions: what they are told, how they tell, how they die, and that nothing of them stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hpo4dl import ArgumentError, EveryTrialFailedError, Tuner, command_objective, replay
from hpo4dl.analysis.run import read_run, to_json
from hpo4dl.failure_kinds import kind_of
from hpo4dl.tools.cli import main
from hpo4dl.trial import Attempt, Outcome, Trial

ROOT = Path(__file__).parents[2]
SPACE = {
    'lr': {'float': [1e-4, 1.0], 'log': True},
    'optimizer': {'choice': ['sgd', 'adam']},
    'momentum': {'float': [0.0, 0.9], 'when': 'optimizer == sgd'},
}
TRAIN = """
import argparse, pathlib
p = argparse.ArgumentParser(allow_abbrev=False)
p.add_argument('--lr', type=float, required=True)
p.add_argument('--momentum', type=float, default=0.0)
p.add_argument('--epochs', type=int, required=True)
p.add_argument('--checkpoint-dir', type=pathlib.Path)
o = p.parse_args()
file = o.checkpoint_dir / 'epoch'
first = int(file.read_text()) if file.exists() else 0
for epoch in range(first + 1, o.epochs + 1):
    print(f'epoch={epoch} loss={(o.lr - 0.01) ** 2 + 1 / epoch + o.momentum}')
    file.write_text(str(epoch))
"""
TYPED = ['--lr', '{lr}', '--momentum', '{momentum}', '--epochs', '{epoch}', '--checkpoint-dir', '{checkpoint_path}']
FLAGS = '--float lr 1e-4 1 --log --choice optimizer sgd adam --float momentum 0 0.9'.split()
FLAGS += ['--when', 'momentum: optimizer == sgd']


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a script that trains."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    (tmp_path / 'train.py').write_text(TRAIN)
    return tmp_path


def python(code: str, *arguments: str, **options: Any) -> Outcome:
    """What comes of one call of a Python program, from epoch 3 to 9."""
    objective = command_objective([sys.executable, '-c', code, *arguments], **options)
    Path('checkpoint').mkdir(exist_ok=True)
    trial = Trial(5, {'lr': 0.1, 'name': 'a "b" $HOME *'}, 3, 9)
    return objective.train_attempt(
        Attempt(17, trial, os.path.abspath('checkpoint'), None, '', log=os.path.abspath('log'))
    )


def epochs(*wanted: int) -> str:
    return ''.join(f'print("epoch={epoch} loss={1 / epoch}")\n' for epoch in wanted)


def test_what_a_program_is_told() -> None:
    code = f"""
import json, os, sys
told = {{k[7:]: v for k, v in os.environ.items() if k[:7] == 'HPO4DL_'}}
told['file'] = json.load(open(told.pop('CONFIGURATION_FILE')))
told['arguments'] = sys.argv[1:]
told['folder'] = os.getcwd()
told['results'] = os.path.dirname(told.pop('RESULTS')) != ''
json.dump(told, open('told', 'w'))
{epochs(4, 5, 6, 7, 8, 9)}"""
    outcome = python(code, '{name}', '{trial}.{attempt}', '{previous_epoch}-{epoch}', '{checkpoint_path}', '{absent}')
    assert outcome.failed is None
    folder, name = os.path.abspath('checkpoint'), 'a "b" $HOME *'
    assert json.loads(Path('told').read_text()) == {
        'LR': '0.1',
        'NAME': name,
        'CONFIGURATION': json.dumps({'lr': 0.1, 'name': name}),
        'EPOCH': '9',
        'PREVIOUS_EPOCH': '3',
        'CHECKPOINT_PATH': folder,
        'RESUME_PATH': folder,
        'TRIAL': '5',
        'ATTEMPT': '17',
        'file': {'lr': 0.1, 'name': name},
        'arguments': [name, '5.17', '3-9', folder],
        'folder': os.getcwd(),
        'results': True,
    }


def test_ways_to_tell() -> None:
    expected = {epoch: 1 / epoch for epoch in range(4, 10)}
    assert python(epochs(*range(4, 10))).metrics == expected
    assert python('import sys; sys.stdout = sys.stderr\n' + epochs(*range(4, 10))).metrics == expected
    report = 'from hpo4dl import report_epoch\nfor e in range(4, 10): report_epoch(e, 1 / e, twice=2 / e)'
    told = python(f'import sys; sys.path.insert(0, {str(ROOT)!r})\n{report}')
    assert told.metrics == expected
    assert told.info == {epoch: {'twice': 2 / epoch} for epoch in expected}
    shell = command_objective(['sh', '-c', 'for e in 4 9; do echo epoch=$e loss=1 >> "{results}"; done'])
    assert shell({}, 9, 3, 'checkpoint') == [{'epoch': epoch, 'metric': 1.0, 'loss': 1} for epoch in (4, 9)]


DEATHS: dict[str, tuple[str, str, set[int]]] = {
    'exit': ('raise SystemExit(3)', 'exit status 3: epoch=5 loss=0.2', {4, 5}),
    'error': ('raise ValueError("too small")', 'exit status 1: ValueError: too small', {4, 5}),
    'module': ('import not_there', "exit status 1: ModuleNotFoundError: No module named 'not_there'", {4, 5}),
    'memory': ('bytearray(2 ** 60)', 'exit status 1: MemoryError', {4, 5}),
    'killed': ('import os; os.kill(os.getpid(), 9)', 'killed: SIGKILL', {4, 5}),
    'segfault': ('import os; os.kill(os.getpid(), 11)', 'killed: SIGSEGV', {4, 5}),
    'short': ('', 'asked to train to epoch 9, the last one returned is 5', {4, 5}),
    'nan': ('print("epoch=6 loss=nan")', 'the metric of epoch 6 is nan', {4, 5}),
    'too far': (epochs(6, 7, 8, 9, 10), 'returned epoch 10; asked for were 4 to 9', set(range(4, 10))),
    'hangs': ('import time; time.sleep(600)', 'time limit: no end after 1', {4, 5}),
    'deaf': ('import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)', 'time limit: no end', {4, 5}),
}


@pytest.mark.parametrize('death', DEATHS)
def test_a_death_has_its_name_and_what_was_told_before_counts(death: str) -> None:
    code, failed, known = DEATHS[death]
    outcome = python(epochs(4, 5) + code, time_limit=1 if 'time' in failed else None, grace=0.2)
    assert outcome.failed is not None
    assert outcome.failed.startswith(failed)
    assert set(outcome.metrics) == known
    assert str(outcome.traceback).startswith(os.path.abspath('log') + ', its last lines:\n')
    assert 'epoch=5 loss=0.2' in Path('log').read_text()


def test_sigterm_comes_first_so_that_a_program_can_save() -> None:
    code = """
import signal, sys, time
def save(*_):
    open('saved', 'w').close()
    print('epoch=9 loss=1')
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print('epoch=4 loss=1')
time.sleep(600)
"""
    outcome = python(code, time_limit=1, grace=60)
    assert Path('saved').exists()
    assert str(outcome.failed).startswith('time limit')
    assert outcome.metrics == {4: 1.0, 9: 1.0}


@pytest.mark.parametrize(
    ('command', 'failed'),
    [
        (['no_such_program'], 'exit status 127: no such program: no_such_program'),
        (['true'], 'no result: '),
        (['echo', 'epoch=9 a=1 b=2'], 'no result: which of a, b'),
        (['false', 'a\0b'], 'wrong argument: '),
    ],
)
def test_commands_that_cannot_work(command: list[str], failed: str) -> None:
    outcome = command_objective(command).train_attempt(Attempt(0, Trial(0, {}, 0, 9), '.', None, '', log='log'))
    assert str(outcome.failed).startswith(failed)


def alive(pid: int) -> bool:
    try:
        return 'Z' not in Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False


def wait_until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, 'it does not come about'
        time.sleep(0.05)


FAMILY = """
import os, subprocess, sys, time
code = 'import os, signal, time; signal.signal(15, signal.SIG_IGN); open("pid_%d" % os.getpid(), "w"); time.sleep(600)'
subprocess.Popen([sys.executable, '-c', code])
subprocess.Popen([sys.executable, '-c', code], start_new_session=True)
while len([f for f in os.listdir() if f[:4] == 'pid_']) < 2:
    time.sleep(0.01)
print('epoch=9 loss=1', flush=True)
"""


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='needs /proc')
@pytest.mark.parametrize('end', ['by itself', 'time limit', 'killed'])
def test_nothing_that_a_program_started_outlives_it(end: str, here: Path) -> None:
    code = FAMILY + ('' if end == 'by itself' else 'time.sleep(600)')
    if end == 'killed':  # whoever made the call
        call = f"command_objective([{sys.executable!r}, '-c', {code!r}], grace=0.2)({{}}, 9, 0, '.')"
        call = f'import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom hpo4dl import command_objective\n{call}'
        caller = subprocess.Popen([sys.executable, '-c', call])
        wait_until(lambda: len(list(here.glob('pid_*'))) == 2)
        caller.kill()
        caller.wait()
    else:
        assert python(code, time_limit=5 if end == 'time limit' else None, grace=0.2).metrics == {9: 1.0}
    pids = [int(file.name[4:]) for file in here.glob('pid_*')]
    assert len(pids) == 2
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_an_interrupt_ends_the_program(here: Path) -> None:
    threading.Timer(0, lambda: (wait_until((here / 'began').exists), signal.raise_signal(signal.SIGINT))).start()
    with pytest.raises(KeyboardInterrupt):
        python('import os, time; open("began", "w").write(str(os.getpid())); time.sleep(600)', grace=0.2)
    assert not alive(int((here / 'began').read_text() or 0))


@pytest.mark.parametrize(
    ('arguments', 'options', 'says'),
    [
        ('python train.py', {}, 'command: got'),
        ([], {}, 'command: got'),
        (['python', 3], {}, 'command: got'),
        (['python', 'x{arguments}'], {}, 'arguments of their own'),
        (['python'], {'pattern': '('}, 'a regular expression'),
        (['python'], {'pattern': '(?P<epoch>x)'}, r'\(\?P<metric>'),
        (['python'], {'time_limit': 0}, 'time_limit: got 0'),
        (['python'], {'first_epoch': -1}, 'first_epoch: got -1'),
    ],
)
def test_wrong_arguments_are_refused(arguments: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        command_objective(arguments, **options)


def test_placeholders_are_checked_before_the_race(here: Path) -> None:
    with pytest.raises(ArgumentError, match=r"placeholder: got '\{lrr\}'"):
        Tuner(command_objective(['python', '{lrr}']), SPACE, 9, 20)
    with pytest.raises(ArgumentError, match="got 'epoch'; accepted: hyperparameters with other names"):
        Tuner(command_objective(['python']), {'epoch': {'int': [1, 2]}}, 9, 20)
    assert not (here / 'hpo4dl_results').exists()
    tuner = Tuner(command_objective(['python', '{lr}']), SPACE, 9, 20)
    with pytest.raises(ArgumentError, match=r"placeholder: got '\{lrr\}'"):
        Tuner.resume(tuner.run_folder, command_objective(['python', '{lrr}']))


@pytest.mark.parametrize('executor', [None, 'threads', 'processes'])
def test_a_race_in_python_pauses_and_goes_on(executor: str | None, here: Path) -> None:
    objective = command_objective([sys.executable, 'train.py', *TYPED], 'loss')
    options: dict[str, Any] = {'num_workers': 2 if executor else 1}
    if executor == 'threads':
        options['executor'] = ThreadPoolExecutor(2)
    tuner = Tuner(objective, SPACE, 9, 8, optimizer='asha', minimize=True, seed=0, progress=False, **options)
    incumbent = tuner.run()
    run = read_run(tuner.run_folder)
    assert run.epochs_spent == 8
    assert run.trials[incumbent['configuration_id']].failed is None
    assert all(trial.failed is None for trial in run.trials.values())
    steps = [json.loads(line) for line in (tuner.run_folder / 'journal.jsonl').read_text().splitlines()]
    assert any(step.get('previous_epoch') for step in steps), 'nothing was paused, so nothing was tested'
    logs = {path.name for path in (tuner.run_folder / 'logs').iterdir()}
    assert logs == {f'trial_{s["trial"]}_attempt_{s["attempt"]}.log' for s in steps if s['event'] == 'start'}


def test_run_and_resume_with_no_further_word(here: Path, capsys: pytest.CaptureFixture, monkeypatch: Any) -> None:
    options = ['--max-epochs', '9', '--max-budget', '8', '--minimize', '--seed', '1', '--optimizer', 'asha']
    assert main(['run', *FLAGS, *options, '--', sys.executable, 'train.py', *TYPED]) == 0
    (folder,) = (here / 'hpo4dl_results').iterdir()
    assert read_run(folder).epochs_spent == 8
    assert f'to go on: hpo4dl resume {folder} --max-budget N' in capsys.readouterr().err
    (here / 'elsewhere').mkdir()
    monkeypatch.chdir(here / 'elsewhere')
    capsys.readouterr()
    assert main(['resume', str(folder), '--max-budget', '12']) == 0
    assert 'train.py --lr {lr}' in capsys.readouterr().out
    run = read_run(folder)
    assert run.epochs_spent == 12
    assert not any(trial.failed for trial in run.trials.values())
    assert replay(folder) > 0
    (folder / 'command.json').write_text('{}')
    assert main(['resume', str(folder)]) == 1
    assert 'command.json: cannot be read' in capsys.readouterr().err
    (folder / 'command.json').unlink()
    assert main(['resume', str(folder)]) == 1
    assert 'give its objective function, too, as MODULE:FUNCTION' in capsys.readouterr().err


def test_from_scratch_charges_what_is_trained(here: Path) -> None:
    (here / 'scratch.py').write_text(
        'import sys\nfor e in range(int(sys.argv[2])):\n    print(f"epoch={e} acc={float(sys.argv[1]) * e}")\n'
    )
    options = ['--max-epochs', '9', '--max-budget', '20', '--seed', '1', '--from-scratch', '--first-epoch', '0']
    flags = ['--float', 'lr', '0.1', '1']
    assert main(['run', *flags, *options, '--', sys.executable, 'scratch.py', '{lr}', '{epoch}']) == 0
    (folder,) = (here / 'hpo4dl_results').iterdir()
    run = read_run(folder)
    assert run.settings['optimizer'] == 'asha'
    starts = [e for e in map(json.loads, (folder / 'journal.jsonl').read_text().splitlines()) if e['event'] == 'start']
    assert {start['previous_epoch'] for start in starts} == {0}
    assert any(start.get('acknowledged') for start in starts), 'no trial went on, so nothing was tested'
    assert run.epochs_spent == sum(start['epoch'] for start in starts) <= 20
    for trial in run.trials.values():
        lr, epochs = trial.configuration['lr'], range(1, trial.epoch + 1)
        assert trial.metrics == {epoch: pytest.approx(lr * (epoch - 1)) for epoch in epochs}
    assert list((folder / 'checkpoints').glob('trial_*')) == []
    spent = run.epochs_spent
    assert main(['resume', str(folder), '--max-budget', '32']) == 0
    assert spent < read_run(folder).epochs_spent <= 32
    assert replay(folder) > len(starts)


@pytest.mark.parametrize(
    ('program', 'says'),
    [
        ([sys.executable, '-c', 'import not_there'], "ModuleNotFoundError: No module named 'not_there'"),
        ([sys.executable, 'train.py', '--lr', '{lr}', '--epoch-s', '{epoch}'], 'error: the following arguments'),
        (['no_such_program'], 'no such program: no_such_program'),
        (['true'], 'no result: it ended well'),
    ],
)
def test_what_cannot_work_ends_the_race_early(program: list[str], says: str, capsys: Any, here: Path) -> None:
    assert main(['run', *FLAGS, '--max-epochs', '9', '--max-budget', '90', '--retry', '5', '--', *program]) == 1
    said = capsys.readouterr().err
    assert says in said
    assert 'attempt_2.log, its last lines:' in said
    (folder,) = (here / 'hpo4dl_results').iterdir()
    assert len(read_run(folder).trials) == 3
    assert 'alike' in str(read_run(folder).stopped)


KINDS = {
    'exit': 'error',
    'error': 'error',
    'module': 'missing module',
    'memory': 'out of memory',
    'killed': 'lost worker',
    'segfault': 'lost worker',
    'hangs': 'time limit',
    'deaf': 'time limit',
    'nan': 'diverged',
}
DIES = """
import sys
death = sys.argv[1]
for epoch in (1, 2, 3):
    print(f'epoch={epoch} loss={1 / epoch if (death, epoch) != ("nan", 3) else "nan"}')
    if epoch == 2:
        exec(DEATHS.get(death, ''))
"""


@pytest.mark.parametrize('retry', [0, 1])
def test_a_race_of_a_script_that_dies_of_every_death(retry: int, here: Path) -> None:
    """Four at a time: nothing is lost, and every death has its name. What may be chance is tried again, if asked."""
    deaths = {death: DEATHS[death][0] for death in KINDS if death != 'nan'}
    (here / 'dies.py').write_text(f'DEATHS = {deaths!r}\n{DIES}')
    space = {'death': {'choice': ['none', *KINDS]}}
    objective = command_objective([sys.executable, 'dies.py', '{death}'], 'loss', time_limit=10, grace=0.2)
    tuner = Tuner(objective, space, 3, 100, optimizer='random', minimize=True, num_workers=4, retry=retry, seed=0)
    assert tuner.run()['configuration'] == {'death': 'none'}
    run = read_run(tuner.run_folder)
    reached = {trial.configuration['death']: trial for trial in run.trials.values()}
    assert len(reached) == len(run.trials) == len(KINDS) + 1
    for death, kind in KINDS.items():
        assert kind_of(str(reached[death].failed)) == kind
        assert reached[death].metrics == {1: 1.0, 2: 0.5}
    assert len(run.lost) == retry * (len(KINDS) - 2)
    told = {trial['configuration']['death']: trial['kind'] for trial in to_json(run)['trials']}
    assert told == {**KINDS, 'none': None}
    events = map(json.loads, (tuner.run_folder / 'journal.jsonl').read_text(encoding='utf-8').splitlines())
    kinds = {event['trial']: event['kind'] for event in events if event.get('failed')}
    assert kinds == {reached[death].id: kind for death, kind in KINDS.items()}
    assert replay(tuner.run_folder) == len(run.trials)


def test_every_trial_fails_and_the_log_is_shown() -> None:
    objective = command_objective([sys.executable, '-c', 'raise ValueError("of mine")'])
    with pytest.raises(EveryTrialFailedError, match=r'10 times .exit status 1: ValueError: of mine.') as caught:
        Tuner(objective, SPACE, 9, 90, optimizer='random', progress=False).run()
    assert 'File "<string>", line 1' in str(caught.value)
