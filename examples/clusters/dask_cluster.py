"""Two Dask workers; on a cluster, give `Client` the address of its scheduler.

PYTHONPATH=examples python examples/clusters/dask_cluster.py
"""

from dask.distributed import Client, LocalCluster
from digits import objective_function, search_space

from hpo4dl import Tuner

if __name__ == '__main__':
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        tuner = Tuner(objective_function, search_space(), max_epochs=9, max_budget=30, executor=client, num_workers=2)
        print(tuner.run())
