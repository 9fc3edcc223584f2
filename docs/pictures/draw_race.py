"""Draw docs/pictures/race.png: a race of small networks on handwritten digits, and the upper half of its `hpo4dl plot`.

PYTHONPATH=examples python docs/pictures/draw_race.py        needs the extras examples and plot; a minute
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import digits
import torch
from ConfigSpace import ConfigurationSpace, Float, Integer
from PIL import Image

from hpo4dl import Tuner

FILE = Path(__file__).with_name('race.png')
FIXED = {'optimizer': 'sgd', 'num_layers': 1, 'weight_decay': 1e-4}


def objective_function(
    configuration: dict[str, Any], epoch: int, previous_epoch: int, checkpoint_path: str
) -> list[dict[str, Any]]:
    """The network of examples/digits.py, trained by SGD; its metric is the validation error."""
    results = digits.objective_function({**FIXED, **configuration}, epoch, previous_epoch, checkpoint_path)
    return [{'epoch': result['epoch'], 'metric': 1 - result['metric']} for result in results]


def race(folder: str) -> Path:
    """The run's folder."""
    space = ConfigurationSpace()
    space.add(Float('learning_rate', (1e-4, 0.3), log=True), Float('momentum', (0.0, 0.99)))
    space.add(Integer('width', (4, 256), log=True), Float('dropout', (0.0, 0.7)))
    tuner = Tuner(objective_function, space, 27, 250, folder, minimize=True, seed=0, progress=False)
    tuner.run()
    return tuner.run_folder.rename(tuner.run_folder.with_name('digits'))


if __name__ == '__main__':
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, 'whole.png')
        run = race(folder)
        subprocess.run([sys.executable, '-m', 'hpo4dl', 'plot', run, '-o', whole], check=True)
        with Image.open(whole) as picture:
            width, height = picture.size
            upper = picture.convert('RGB').crop((0, 0, width, round(width * 0.54)))
            small = upper.resize((1400, round(1400 * upper.height / width)), Image.Resampling.LANCZOS)
            small.quantize(64).save(FILE, optimize=True)
    print(FILE)
