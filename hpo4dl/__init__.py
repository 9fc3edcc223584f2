"""Hyperparameter optimization for deep learning in as few epochs as possible.

Importing the package imports errors alone. Each other name brings its module when it is first asked for, so that
looking at a run needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .errors import (
    ArgumentError,
    EveryTrialFailedError,
    ExecutorError,
    HPO4DLError,
    JournalError,
    MissingPartError,
    RunLockedError,
    StorageError,
)

if TYPE_CHECKING:
    from .analysis.replay import replay
    from .analysis.run import Run, read_run
    from .integrations.command import command_objective
    from .integrations.reporting import report_epoch
    from .integrations.torch_checkpoint import load_checkpoint, save_checkpoint
    from .optimizers.dyhpo import DyHPO
    from .optimizers.hyperband import ASHA, Hyperband
    from .optimizers.policy import Policy
    from .optimizers.random_search import RandomSearch
    from .progress import Event
    from .tools.executor_check import check_executor
    from .tools.objective_check import ObjectiveCheck, check_objective
    from .tools.warm_start import WarmStart, warm_start
    from .trial import Incumbent, Trial
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
    'Incumbent',
    'JournalError',
    'MissingPartError',
    'ObjectiveCheck',
    'Policy',
    'RandomSearch',
    'Run',
    'RunLockedError',
    'StorageError',
    'Trial',
    'Tuner',
    'WarmStart',
    'check_executor',
    'check_objective',
    'command_objective',
    'load_checkpoint',
    'read_run',
    'replay',
    'report_epoch',
    'save_checkpoint',
    'warm_start',
]

_MODULES = {
    'analysis.replay': ['replay'],
    'analysis.run': ['Run', 'read_run'],
    'integrations.command': ['command_objective'],
    'integrations.reporting': ['report_epoch'],
    'integrations.torch_checkpoint': ['load_checkpoint', 'save_checkpoint'],
    'optimizers.dyhpo': ['DyHPO'],
    'optimizers.hyperband': ['ASHA', 'Hyperband'],
    'optimizers.policy': ['Policy'],
    'optimizers.random_search': ['RandomSearch'],
    'progress': ['Event'],
    'tools.executor_check': ['check_executor'],
    'tools.objective_check': ['ObjectiveCheck', 'check_objective'],
    'tools.warm_start': ['WarmStart', 'warm_start'],
    'trial': ['Incumbent', 'Trial'],
    'tuner': ['Tuner'],
}
"""Where the names are that are imported when they are asked for (PEP 562)."""

if not TYPE_CHECKING:  # type checkers see the imports above instead, and notice names that are not there

    def __getattr__(name: str) -> Any:
        if name == 'tuner':  # `import hpo4dl; hpo4dl.tuner.Tuner`
            return importlib.import_module('.tuner', __name__)
        for module, names in _MODULES.items():
            if name in names:
                found = globals()[name] = getattr(importlib.import_module(f'.{module}', __name__), name)
                return found
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
