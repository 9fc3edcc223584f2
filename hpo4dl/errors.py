"""What can go wrong, named for callers. Everything that hpo4dl raises on purpose is an `HPO4DLError`."""

from __future__ import annotations

from .text import brief


class HPO4DLError(Exception):
    """The root of the tree: catch this to catch every error of ours."""


class ArgumentError(HPO4DLError, ValueError):
    """An argument cannot be used. The message names it, says what was given and what is accepted."""

    def __init__(self, argument: str, value: object, accepted: str) -> None:
        super().__init__(f'{argument}: got {brief(value)}; accepted: {accepted}')
        self.argument = argument
        self.value = value
        self.accepted = accepted

    def __reduce__(self) -> tuple[type[ArgumentError], tuple[str, object, str]]:
        return type(self), (self.argument, self.value, self.accepted)


class JournalError(HPO4DLError):
    """A run's folder cannot be read or continued: the message names the file, and the line where there is one."""


class RunLockedError(HPO4DLError):
    """Another tuner works on this run's folder: the message names its host and process."""


class StorageError(HPO4DLError, OSError):
    """The journal or a checkpoint could not be written (disk full, read-only, gone). What was acknowledged stays."""


class EveryTrialFailedError(HPO4DLError, RuntimeError):
    """No call of the objective function gave a usable metric: the message says what the failures had in common."""


class MissingPartError(HPO4DLError, ImportError):
    """What was asked for is not in this copy of the package, which `hpo4dl vendor --core` made."""


class ExecutorError(HPO4DLError, RuntimeError):
    """The executor cannot train: it is missing, broken, its workers do not start, or a job left no result."""
