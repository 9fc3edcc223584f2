"""A race of one hyperparameter, whose objective function checks what it is asked for."""

from __future__ import annotations

from pathlib import Path

from ConfigSpace import ConfigurationSpace

from hpo4dl import Tuner

NAMES = ['dyhpo', 'hyperband', 'asha', 'random']


def space() -> ConfigurationSpace:
    return ConfigurationSpace({'x': (-5.0, 10.0)})


class Quadratic:
    """Counts the epochs of each configuration in its checkpoint, and checks that none is trained twice or skipped."""

    def __init__(self, dies_at: int = -1) -> None:
        self.calls: list[tuple[float, int, int]] = []
        self.dies_at = dies_at

    def __call__(self, configuration, epoch, previous_epoch, checkpoint_path):
        if len(self.calls) == self.dies_at:
            raise KeyboardInterrupt
        file = Path(checkpoint_path) / 'epochs'
        assert int(file.read_text() if file.exists() else 0) == previous_epoch
        file.write_text(str(epoch))
        self.calls.append((configuration['x'], previous_epoch, epoch))
        return [
            {'epoch': i, 'metric': (configuration['x'] - 2) ** 2 + 1 / i, 'half': i / 2}
            for i in range(previous_epoch + 1, epoch + 1)
        ]


def tune(folder: Path, objective, **arguments):
    settings = {'max_epochs': 9, 'max_budget': 40, 'minimize': True, 'seed': 0, 'num_configurations': 50, **arguments}
    settings.setdefault('configuration_space', space())
    return Tuner(objective, output_path=folder, progress=False, **settings)
