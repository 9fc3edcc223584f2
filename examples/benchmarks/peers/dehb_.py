"""DEHB (differential evolution with Hyperband), through ask and tell.

A configuration that is promoted goes on where it was left. On a table, it stands for the nearest row.
"""

from __future__ import annotations

from typing import Any

REQUIREMENTS = ['dehb==0.1.2 numpy==1.26.4 ConfigSpace==1.2.2 onnxruntime==1.32.0']


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    import numpy as np
    from dehb import DEHB

    dehb = DEHB(
        cs=problem.space,
        min_fidelity=1,
        max_fidelity=problem.max_epochs,
        n_workers=1,
        seed=seed,
        output_path='results',
        save_freq='end',
        log_level='WARNING',
    )
    while True:
        job = dehb.ask()
        loss = float(training.losses(dict(job['config']), round(job['fidelity']))[-1])
        dehb.tell(job, {'fitness': loss if np.isfinite(loss) else np.inf, 'cost': job['fidelity']})
