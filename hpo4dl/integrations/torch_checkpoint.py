"""What a PyTorch training needs to go on as if it had never stopped, in one file of the trial's checkpoint folder.

    def objective_function(configuration, epoch, previous_epoch, checkpoint_path):
        model, optimizer, scheduler = ...
        if previous_epoch > 0:
            load_checkpoint(checkpoint_path, model=model, optimizer=optimizer, scheduler=scheduler)
        ...
        save_checkpoint(checkpoint_path, model=model, optimizer=optimizer, scheduler=scheduler)

Beside what is named, the global random state is saved and restored: Python's, NumPy's, torch's and the CUDA devices'.
The order of the data, augmentation and dropout are drawn from it, so that three epochs and three more are the same as
six. The file holds tensors and plain values only, and is loaded with `weights_only=True`: no code in it can run. hpo4dl
itself never looks into a checkpoint.
"""

from __future__ import annotations

import os
import random
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import ArgumentError, StorageError
from ..files import replacing

NAME = 'checkpoint.pt'


def save_checkpoint(checkpoint_path: str | os.PathLike[str], /, **parts: Any) -> None:
    """Saves the parts and the random state in one file. A kill leaves the older file or the new one, whole.

    Args:
        checkpoint_path: the folder that the objective function was given.
        parts: by any name, what has a `state_dict()` (models, optimizers, schedulers, scalers, ...), torch.Generators,
            and plain values (numbers, strings, tensors, lists, tuples and dicts of them). None is saved as None.

    Raises:
        ArgumentError: a part holds something else, such as an object or a NumPy array.
        StorageError: the file could not be written; the older one stays.
    """
    content = {name: to_plain_data(part_state(part), name) for name, part in parts.items()}
    path = Path(checkpoint_path) / NAME
    try:
        for half in path.parent.glob(f'.{NAME}.*.new'):  # of a call in place that was killed while it saved
            half.unlink(missing_ok=True)
        with replacing(path) as file:
            torch.save({'parts': content, 'random_state': random_state()}, file)
    except (OSError, RuntimeError) as error:  # the latter where torch hides the former
        raise StorageError(f'{path}: cannot be written: {error}') from error


def load_checkpoint(checkpoint_path: str | os.PathLike[str], /, **parts: Any) -> dict[str, Any]:
    """Restores what `save_checkpoint` saved, the random state of Python, NumPy and torch included.

    Args:
        checkpoint_path: the folder that the objective function was given, or `tuner.results().best_checkpoint`.
        parts: the objects to restore, by the names that they were saved by. What is None, or is not named, is left.

    Returns:
        The saved plain values by name; tensors are on the CPU.

    Raises:
        StorageError: the file is missing, or cannot be read.
        ArgumentError: no such part was saved, or it cannot be restored into this object.
    """
    path = Path(checkpoint_path) / NAME
    try:
        saved = torch.load(path, map_location='cpu', weights_only=True)
        content, state = saved['parts'], saved['random_state']
    except Exception as error:  # whatever torch raises of a file that is not one of ours
        raise StorageError(f'{path}: cannot be read as a checkpoint: {error}') from error
    for name, part in parts.items():
        if name not in content:
            raise ArgumentError(name, part, f'what {path} holds: {", ".join(content)}')
        if isinstance(part, torch.Generator):
            part.set_state(content[name])
        elif hasattr(part, 'load_state_dict'):
            part.load_state_dict(content[name])
        elif part is not None:
            raise ArgumentError(name, part, 'an object with load_state_dict(); plain values are returned')
    set_random_state(state)
    return {name: value for name, value in content.items() if name not in parts}


def random_state() -> dict[str, Any]:
    """Return the global random state of Python, NumPy, torch and, if CUDA is in use, its devices, as plain values."""
    version, numbers, gauss = random.getstate()
    numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    return {
        'python': (version, torch.tensor(numbers, dtype=torch.int64), gauss),
        'numpy': {**numpy, 'state': {**numpy['state'], 'key': torch.tensor(numpy['state']['key'].tolist())}},
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Bring the global random state back to where `random_state` took it."""
    version, numbers, gauss = state['python']
    random.setstate((version, tuple(numbers.tolist()), gauss))
    numpy = state['numpy']
    keys = np.asarray(numpy['state']['key'].tolist(), dtype=np.uint32)
    np.random.set_state({**numpy, 'state': {**numpy['state'], 'key': keys}})  # noqa: NPY002
    torch.set_rng_state(state['torch'])
    if torch.cuda.is_available():
        for device, own in zip(range(torch.cuda.device_count()), state['cuda']):
            torch.cuda.set_rng_state(own, device)


def part_state(part: Any) -> Any:
    """Return the part's state where it has one; else the part itself, which is a plain value."""
    if isinstance(part, torch.Generator):
        return part.get_state()
    return part.state_dict() if hasattr(part, 'state_dict') else part


def to_plain_data(value: Any, name: str) -> Any:
    """Return a copy that `torch.load(weights_only=True)` accepts; raises ArgumentError about `name` where none is."""
    if isinstance(value, np.generic):
        return to_plain_data(value.item(), name)
    if isinstance(value, torch.Tensor) or type(value) in (type(None), bool, int, float, str, torch.Size):
        return value
    if isinstance(value, Mapping):
        copy: dict[Any, Any] = OrderedDict() if isinstance(value, OrderedDict) else {}
        copy.update((key, to_plain_data(entry, f'{name}[{key!r}]')) for key, entry in value.items())
        if hasattr(value, '_metadata'):  # modules keep their versions there
            copy._metadata = value._metadata  # type: ignore[attr-defined]
        return copy
    if isinstance(value, (list, tuple)):
        copies = [to_plain_data(entry, f'{name}[{i}]') for i, entry in enumerate(value)]
        return copies if isinstance(value, list) else tuple(copies)
    raise ArgumentError(name, value, 'numbers, strings, tensors, lists, tuples and dicts of them')
