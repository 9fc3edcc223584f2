"""Two MPI processes that train, and a third, the tuner's, that decides.

PYTHONPATH=examples mpiexec -n 3 python -m mpi4py.futures examples/clusters/mpi.py
"""

from digits import objective_function, search_space
from mpi4py.futures import MPIPoolExecutor

from hpo4dl import Tuner

if __name__ == '__main__':
    with MPIPoolExecutor(2) as executor:
        tuner = Tuner(objective_function, search_space(), max_epochs=9, max_budget=30, executor=executor, num_workers=2)
        print(tuner.run())
