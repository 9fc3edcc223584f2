"""What fits of a race into one Slurm job, see requeue.sbatch: begins it, or goes on with it."""

from pathlib import Path

from digits import objective_function, search_space

from hpo4dl import Tuner

if __name__ == '__main__':
    runs = list(Path('requeued').glob('experiment_*'))
    if runs:
        tuner = Tuner.resume(runs[0], objective_function)
    else:
        tuner = Tuner(objective_function, search_space(), max_epochs=50, max_budget=2000, output_path='requeued')
    print(tuner.run())
    print(tuner.stopped, tuner.epochs_spent, 'epochs in all')
