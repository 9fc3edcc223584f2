"""Two Slurm jobs at a time; the tuner stays where it is started, such as on a login node.

PYTHONPATH=examples python examples/clusters/slurm.py
"""

from digits import objective_function, search_space

from hpo4dl import Tuner
from hpo4dl.integrations.slurm import SlurmExecutor

if __name__ == '__main__':
    executor = SlurmExecutor('slurm_jobs', time=10, cpus_per_task=1)  # and partition='gpu', gpus_per_node=1, ...
    tuner = Tuner(objective_function, search_space(), max_epochs=9, max_budget=10, executor=executor, num_workers=2)
    print(tuner.run())
