"""Objective functions of one hyperparameter `x`, best at 2. Workers import them, so nothing heavy is imported here."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

ABOVE = 7
"""Where `x` is larger, the objective functions that misbehave do so."""


def curve(x: float, epoch: int, previous_epoch: int, **told: Any) -> list[dict[str, Any]]:
    return [{'epoch': i, 'metric': (x - 2) ** 2 + 1 / i, **told} for i in range(previous_epoch + 1, epoch + 1)]


def take_checkpoint(path: str, epoch: int, previous_epoch: int, length: int = 0) -> None:
    """Fails where the checkpoint is not at `previous_epoch`; leaves one at `epoch`."""
    file = Path(path) / 'epochs'
    assert int(file.read_text() if file.exists() else 0) == previous_epoch
    file.write_text(str(epoch).zfill(length))


class Quadratic:
    """Checks its checkpoint; remembers its calls, and is interrupted at one of them."""

    def __init__(self, dies_at: int = -1) -> None:
        self.calls: list[tuple[float, int, int]] = []
        self.dies_at = dies_at

    def __call__(self, configuration, epoch, previous_epoch, checkpoint_path):
        if len(self.calls) == self.dies_at:
            raise KeyboardInterrupt
        take_checkpoint(checkpoint_path, epoch, previous_epoch)
        self.calls.append((configuration['x'], previous_epoch, epoch))
        epochs = curve(configuration['x'], epoch, previous_epoch)
        return [{**entry, 'half': entry['epoch'] / 2} for entry in epochs]


def last_epoch(configuration, epoch, previous_epoch, checkpoint_path):
    """Tells `x` of the last epoch alone, and looks at nothing."""
    return {'epoch': epoch, 'metric': configuration['x']}


def trained(configuration, epoch, previous_epoch, checkpoint_path):
    """Checks its checkpoint; tells its process."""
    take_checkpoint(checkpoint_path, epoch, previous_epoch)
    told = {'pid': os.getpid(), 'cuda': os.environ.get('CUDA_VISIBLE_DEVICES')}
    return curve(configuration['x'], epoch, previous_epoch, **told)


def busy(*arguments):
    """Long enough for calls to overlap."""
    time.sleep(0.02)
    return trained(*arguments)


def killed_once(configuration, epoch, previous_epoch, checkpoint_path):
    """The worker dies at the first call of all; `checkpoint_path` is below the run's folder."""
    once = Path(checkpoint_path).parents[2] / 'died'
    if previous_epoch == 0 and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return trained(configuration, epoch, previous_epoch, checkpoint_path)


def segfaults(configuration, *rest):
    if configuration['x'] > ABOVE:
        faulthandler.disable()  # pytest's, which tells a lot
        os.kill(os.getpid(), signal.SIGSEGV)
    return trained(configuration, *rest)


def exits(configuration, *rest):
    if configuration['x'] > ABOVE:
        os._exit(3)
    return trained(configuration, *rest)


def hangs(configuration, epoch, previous_epoch, checkpoint_path):
    """Leaves its process's number beside its checkpoint before it hangs."""
    if configuration['x'] > ABOVE:
        (Path(checkpoint_path).parents[2] / f'hangs_{os.getpid()}').touch()
        time.sleep(600)
    return trained(configuration, epoch, previous_epoch, checkpoint_path)


def interrupts_itself(configuration, *rest):
    if configuration['x'] > ABOVE:
        raise KeyboardInterrupt('from inside')
    return trained(configuration, *rest)


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__('cannot be sent')
        self.lock = threading.Lock()


def raises_and_returns_what_cannot_be_pickled(configuration, epoch, previous_epoch, checkpoint_path):
    if configuration['x'] > ABOVE:
        raise Unpicklable
    return {'epoch': epoch, 'metric': configuration['x'], 'lock': threading.Lock(), 'function': lambda: 3}


WAYS = {'exit': 3, 'return': 0, 'raise': 1, 'interrupt': 1}


def forks(configuration, epoch, previous_epoch, checkpoint_path):
    """Leaves a child in every call, which comes back in one way or another."""
    way = list(WAYS)[int(configuration['x'] * 1e6) % 4]
    pid = os.fork()
    if pid == 0:
        if way == 'exit':
            sys.exit(3)
        if way == 'raise':
            raise RuntimeError('in the child')
        if way == 'interrupt':
            raise KeyboardInterrupt
    else:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == WAYS[way]
    return curve(configuration['x'], epoch, previous_epoch, way=way)
