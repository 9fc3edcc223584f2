"""SMAC3: the multi-fidelity facade (Hyperband with random forests), through ask and tell.

A configuration that is promoted goes on where it was left. On a table, it stands for the nearest row.
"""

from __future__ import annotations

from typing import Any

REQUIREMENTS = ['smac==2.4.0 scikit-learn==1.7.2 numpy==2.4.6 ConfigSpace==1.2.2 onnxruntime==1.32.0']


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    import numpy as np
    from smac import MultiFidelityFacade, Scenario
    from smac.runhistory import StatusType, TrialValue

    scenario = Scenario(
        problem.space,
        deterministic=True,
        min_budget=1,
        max_budget=problem.max_epochs,
        n_trials=10 * training.epochs,
        seed=seed,
        output_directory='results',
    )
    smac = MultiFidelityFacade(scenario, lambda configuration, seed, budget: np.nan, logging_level=False)
    while True:
        info = smac.ask()
        loss = float(training.losses(dict(info.config), round(info.budget))[-1])
        if np.isfinite(loss):
            smac.tell(info, TrialValue(cost=loss, time=info.budget))
        else:
            smac.tell(info, TrialValue(cost=np.inf, time=info.budget, status=StatusType.CRASHED))
