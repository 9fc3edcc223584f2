"""python -m peers TUNER PROBLEM SEED EPOCHS FILE [DATA]"""

import sys
from pathlib import Path

from peers import run

tuner, problem, seed, epochs, file, *data = sys.argv[1:]
run(tuner, problem, int(seed), int(epochs), Path(file), Path(data[0]) if data else None)
