"""Packages that are not installed with hpo4dl."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import HPO4DLError

PACKAGES = {
    'mlflow': 'mlflow-skinny',
    'optuna': 'optuna scikit-learn',
    'pandas': 'pandas',
    'parquet': 'pyarrow',
    'plot': 'matplotlib',
    'slurm': 'submitit',
    'tensorboard': 'tensorboard',
    'wandb': 'wandb',
}
"""By extra, as setup.cfg has them. Errors name these, not the extra: on PyPI, `hpo4dl` is another program (0.1.0)."""


def import_extra(module: str, extra: str) -> Any:
    """Import a module of an optional package; raise an HPO4DLError that says what to install where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise HPO4DLError(f'this needs {module.partition(".")[0]}: pip install {PACKAGES[extra]} ({error})') from error
