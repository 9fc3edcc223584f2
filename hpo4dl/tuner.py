"""`Tuner`, the face: it checks what it is given, makes or finds the run's folder, and hands both to a session."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ConfigSpace import ConfigurationSpace

from .checks import check_count, check_flag, check_objective_function, check_path
from .errors import ArgumentError
from .optimizers.protocol import Optimizer
from .optimizers.registry import check_optimizer
from .parts import parts_of
from .periphery import first_configurations, results
from .progress import Callback
from .records.checkpoints import Keep, Mode
from .records.identity import Identity, make_marked, read_identity
from .records.journal import SCHEMA, Journal
from .records.run_folder import make_run_folder, read_configuration_space, write_run
from .records.runs import find_run
from .session import Session
from .settings import Settings
from .space.declaration import as_space
from .space.unit_cube import Space
from .trial import Incumbent, Objective

if TYPE_CHECKING:
    from .periphery import Run

OptimizerName = Literal['dyhpo', 'hyperband', 'asha', 'random']
Unit = Literal['epochs', 'seconds', 'reported']


class Tuner:
    """Tunes the hyperparameters of an objective function. The run's folder is made here, `run` does the work.

    Args:
        objective_function: called as `f(configuration, epoch, previous_epoch, checkpoint_path)`, trains on from
            `previous_epoch` (0: from scratch) to `epoch`, and returns a dict, or a list of dicts, with `epoch`,
            `metric`, and whatever else is to be recorded.
        configuration_space: what to search: ConfigSpace's, or a dictionary such as `{'lr': {'float': [1e-5, 0.1]}}`.
        max_epochs: epochs of one configuration at most.
        max_budget: epochs to train in all, or what `cost` counts; None: give another stop. Hyperband needs none: it
            then ends after its last bracket.
        output_path: where the run's own folder is made; default 'hpo4dl_results'.
        optimizer: 'dyhpo' (default), 'hyperband', 'asha', 'random', or an object such as `DyHPO(...)`.
        minimize: whether smaller metrics are better; default False.
        num_configurations: candidates that DyHPO weighs before each decision; default 1000.
        seed: a whole number; None draws one and records it.
        device: where DyHPO's surrogate is fitted: 'cpu' (default), 'cuda', ...
        storage_path: where checkpoints of trials lie; default: in the run's folder.
        time_limit: seconds of wall clock after which `run` starts no further call.
        target: a metric that ends the race when it is reached.
        stop_when_gain_below: ends the race when training the most promising trial to the end is expected to improve
            the best metric by less, in its units; of optimizers that tell (`DyHPO.expected_gain`).
        initial_configurations: dictionaries, which are raced first, in this order.
        candidates: dictionaries, to which the race is restricted.
        cost: what `max_budget` counts, and what DyHPO weighs gain against: 'epochs' (default), 'seconds' that calls
            take, or 'reported': what the objective function returns as `cost` with each epoch, in any unit.
        warm_start: the folder of a previous run, whose best configurations are raced first, see `warm_start`.
        keep_checkpoints: whose stay on the disk: of trials that may go on ('alive', the default), of 'all', after the
            race of the 'best' alone, or of 'none': each call trains from epoch 1.
        executor: where calls are made: None (here, or in processes of this machine), an object with PEP 3148's
            `submit`, or a callable that makes one, so that a broken one can be made anew.
        num_workers: calls at a time; default 1, in this process. With more and no executor: that many processes.
        devices: for processes of this machine, one accelerator a worker: `['cuda:0', 'cuda:1']`.
        devices_per_trial: how many of them each worker sees; default 1.
        trials_per_device: how many workers share a device; default 1.
        fresh_process: a new process of this machine for each call, so that memory that leaks is freed with it.
        retry: how often a call that failed, or whose worker died, is made again before its trial is failed; default 0.
        trial_timeout: seconds after which a call is failed; a single worker without executor is then a process.
        checkpoints: 'copy' (default): a call works on a copy of the trial's checkpoint; 'in-place': on itself.
        max_disk: bytes, or a text such as '20GB', that all checkpoints together may take.
        callbacks: called with an `Event` after every result. What they raise is logged.
        progress: a line that is written over; None: where stderr is a terminal or a notebook. Else a line now and then.
        quiet: says nothing on stderr but warnings; `logging` has all of it, at level INFO.
        name: what the run's folder is called, before date and time; default 'experiment'.
        metric_name: what reports and pictures call the metric; default 'metric'.

    Raises:
        ArgumentError: an argument cannot be used.
        JournalError: `warm_start` holds no run.
    """

    def __init__(
        self,
        objective_function: Objective,
        configuration_space: ConfigurationSpace | dict[str, Any],
        max_epochs: int,
        max_budget: float | None = None,
        output_path: str | os.PathLike[str] = 'hpo4dl_results',
        optimizer: OptimizerName | Optimizer = 'dyhpo',
        minimize: bool = False,
        num_configurations: int = 1000,
        seed: int | None = None,
        device: str | None = None,
        storage_path: str | os.PathLike[str] | None = None,
        *,
        time_limit: float | None = None,
        target: float | None = None,
        stop_when_gain_below: float | None = None,
        initial_configurations: Sequence[Mapping[str, object]] = (),
        candidates: Sequence[Mapping[str, object]] | None = None,
        cost: Unit = 'epochs',
        warm_start: str | os.PathLike[str] | None = None,
        keep_checkpoints: Keep = 'alive',
        executor: Any = None,
        num_workers: int = 1,
        devices: Sequence[str] | None = None,
        devices_per_trial: int = 1,
        trials_per_device: int = 1,
        fresh_process: bool = False,
        retry: int = 0,
        trial_timeout: float | None = None,
        checkpoints: Mode = 'copy',
        max_disk: int | str | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
        quiet: bool = False,
        name: str | None = None,
        metric_name: str = 'metric',
    ) -> None:
        arguments = dict(locals())  # by name: `Settings.checked` takes those that are settings
        check_objective_function(objective_function)
        check_optimizer(optimizer)
        configspace: ConfigurationSpace = as_space(configuration_space)
        known = optimizer if isinstance(optimizer, str) else None
        stops = (max_budget, time_limit, target, stop_when_gain_below)
        if all(stop is None for stop in stops) and known != 'hyperband':
            accepted = 'a whole number >= 1, unless time_limit, target or stop_when_gain_below is given'
            raise ArgumentError('max_budget', max_budget, accepted)
        space = Space(configspace, candidates)
        first = first_configurations(initial_configurations, warm_start, configspace, candidates)
        for configuration in first:
            space.to_unit(configuration, 'initial_configurations')
        plain_first = [space.plain(configuration) for configuration in first]
        plain_candidates = None if candidates is None else [space.plain(candidate) for candidate in candidates]
        plain = {'optimizer': known, 'initial_configurations': plain_first, 'candidates': plain_candidates}
        settings = Settings.checked(arguments | plain)
        parts = parts_of(arguments, settings, space)
        folder, identity = make_run_folder(check_path('output_path', output_path), settings.storage_path, name)
        write_run(folder, identity, asdict(settings), configspace)
        make_marked(identity.checkpoint_folder(folder, settings.storage_path), identity, folder)
        Journal(folder).begin({'event': 'run', 'schema': SCHEMA, 'run': folder.name})
        self._session = Session(folder, identity, settings, space, *parts)

    @classmethod
    def resume(
        cls,
        run_folder: str | os.PathLike[str],
        objective_function: Objective,
        *,
        max_budget: float | None = None,
        time_limit: float | None = None,
        target: float | None = None,
        stop_when_gain_below: float | None = None,
        optimizer: Optimizer | None = None,
        configuration_space: ConfigurationSpace | dict[str, Any] | None = None,
        executor: Any = None,
        num_workers: int = 1,
        devices: Sequence[str] | None = None,
        devices_per_trial: int = 1,
        trials_per_device: int = 1,
        fresh_process: bool = False,
        retry: int | None = None,
        trial_timeout: float | None = None,
        max_disk: int | str | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
        quiet: bool = False,
        take_over: bool = False,
        salvage: bool = False,
    ) -> Tuner:
        """Return a tuner that goes on with an interrupted run where its journal ends: `Tuner.resume(folder, f).run()`.

        Args:
            run_folder: the folder of the run; 'last': the newest one below the current folder.
            objective_function: as in `Tuner`.
            max_budget, time_limit, target, stop_when_gain_below, retry, trial_timeout, max_disk: replace the run's own
                where given.
            optimizer: a fresh object like the one the run was started with, if that was an object.
            configuration_space: the run's, where the installed ConfigSpace cannot read the one in the folder.
            executor, num_workers, devices, devices_per_trial, trials_per_device, fresh_process: as in
                `Tuner`; they need not be those that the run was started with.
            callbacks, progress, quiet: as in `Tuner`.
            take_over: go on although the lock of another host lies in the folder.
            salvage: go on from what is whole of a damaged journal, which is kept beside the new one, and train trials
                whose checkpoint is gone again from the start.

        Raises:
            ArgumentError: an argument cannot be used.
            JournalError: the folder holds no run, or a damaged one.
        """
        arguments = dict(locals())  # by name: `Settings.replaced` takes those that are settings
        check_objective_function(objective_function)
        check_flag('take_over', take_over)
        check_flag('salvage', salvage)
        folder = Path(os.path.realpath(find_run(check_path('run_folder', run_folder))))
        stored = Settings.read(folder)
        if stored.optimizer is None and optimizer is None:
            raise ArgumentError('optimizer', optimizer, 'an object like the one that the run was started with')
        if stored.optimizer is not None and optimizer is not None:
            raise ArgumentError('optimizer', optimizer, f'None: the run was started with {stored.optimizer!r}')
        identity = read_identity(folder) or Identity.new(folder.name)
        identity.checkpoint_folder(folder, stored.storage_path)  # raises where a link lies there
        configspace = read_configuration_space(folder, as_space(configuration_space))
        settings = stored.replaced(arguments | {'optimizer': None})
        space = Space.restored(configspace, settings.candidates)
        parts = parts_of(arguments, settings, space)
        tuner = cls.__new__(cls)
        tuner._session = Session(folder, identity, settings, space, *parts, take_over, salvage)
        return tuner

    @property
    def run_folder(self) -> Path:
        """The run's own folder, absolute."""
        return self._session.run_folder

    @property
    def settings(self) -> Settings:
        """What the run was started or resumed with: the arguments, as attributes of the same names."""
        return self._session.settings

    @property
    def optimizer(self) -> Optimizer:
        """What decides: a `DyHPO`, `Hyperband`, `ASHA`, `RandomSearch`, or the object that was given."""
        return self._session.optimizer

    @property
    def stopped(self) -> str | None:
        """Why `run` ended, a text such as 'max_budget: 100'; None as long as it did not."""
        return self._session.stopped

    @property
    def epochs_spent(self) -> int:
        """Epochs trained so far, over all trials; a failed call counts with what it was asked for."""
        return self._session.state.epochs_spent

    @property
    def incumbent(self) -> Incumbent | None:
        """The best so far, as `run` returns it."""
        return self._session.state.incumbent_row()

    def __repr__(self) -> str:
        best, budget = self.incumbent, self.settings.max_budget
        counts_epochs = self.settings.cost == 'epochs'
        spent = f'{self.epochs_spent} of {budget} epochs' if budget and counts_epochs else f'{self.epochs_spent} epochs'
        found = 'no result yet'
        if best is not None:
            found = f'{self.settings.metric_name} {best.metric:.6g} (trial {best.configuration_id}, epoch {best.epoch})'
        return f'<Tuner: {spent}, {found}; {self.run_folder}>'

    def _repr_html_(self) -> str:
        """Return the run as a table, in a notebook."""
        return self.results()._repr_html_()

    def results(self) -> Run:
        """Return the run as its folder has it: trials, learning curves, incumbent, data frame, plot. See `read_run`."""
        return results(self.run_folder)

    def run(self) -> Incumbent:
        """Race until a stop: the budget, the time limit, the target, a signal, or nothing left to train.

        Returns:
            The incumbent, a dictionary: `configuration`, `configuration_id`, `epoch`, `metric`, which are attributes,
            too; what else the objective function returned with it; and what its epoch took, in seconds: `time`,
            `overhead_time` (of the decision), `total_time`.

        Raises:
            ArgumentError: the objective function cannot be sent to the executor's workers.
            EveryTrialFailedError: no call gave a usable metric.
            ExecutorError: the workers do not start.
            StorageError: the run's folder could not be written.
            RunLockedError: another tuner works on the folder.
        """
        return self._session.run()

    def finish(self, top: int = 3) -> Incumbent:
        """Train the most promising trials on to `max_epochs`, after the race. It takes nothing from `max_budget`.

        Most promising are the trials whose last metric is predicted to be best (DyHPO), or whose best metric is (all
        others); the incumbent's is among them. They stay the same when an interrupted call of `finish` is made again.

        Args:
            top: how many, default 3; those that are trained to the end already count.

        Returns:
            The incumbent, as `run`; its checkpoint is in `best_trial`.

        Raises:
            ArgumentError, EveryTrialFailedError, ExecutorError, StorageError, RunLockedError: as `run`.
        """
        return self._session.run(check_count('top', top))
