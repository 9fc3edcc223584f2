"""Hyperparameter optimization for deep learning in as few epochs as possible."""

from .conformance import check_executor
from .dyhpo import DyHPO
from .errors import (
    ArgumentError,
    EveryTrialFailedError,
    ExecutorError,
    HPO4DLError,
    JournalError,
    RunLockedError,
    StorageError,
)
from .hyperband import ASHA, Hyperband
from .progress import Event
from .random_search import RandomSearch
from .replay import replay
from .trial import Trial
from .tuner import Tuner

__version__ = '0.2.0'

__all__ = [
    'ASHA',
    'ArgumentError',
    'DyHPO',
    'Event',
    'EveryTrialFailedError',
    'ExecutorError',
    'HPO4DLError',
    'Hyperband',
    'JournalError',
    'RandomSearch',
    'RunLockedError',
    'StorageError',
    'Trial',
    'Tuner',
    'check_executor',
    'replay',
]
