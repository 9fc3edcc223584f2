"""Hyperparameter optimization for deep learning in as few epochs as possible."""

from .analysis.replay import replay
from .errors import (
    ArgumentError,
    EveryTrialFailedError,
    ExecutorError,
    HPO4DLError,
    JournalError,
    RunLockedError,
    StorageError,
)
from .integrations.torch_checkpoint import load_checkpoint, save_checkpoint
from .optimizers.dyhpo import DyHPO
from .optimizers.hyperband import ASHA, Hyperband
from .optimizers.random_search import RandomSearch
from .progress import Event
from .tools.executor_check import check_executor
from .tools.objective_check import ObjectiveCheck, check_objective
from .tools.warm_start import WarmStart, warm_start
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
    'ObjectiveCheck',
    'RandomSearch',
    'RunLockedError',
    'StorageError',
    'Trial',
    'Tuner',
    'WarmStart',
    'check_executor',
    'check_objective',
    'load_checkpoint',
    'replay',
    'save_checkpoint',
    'warm_start',
]
