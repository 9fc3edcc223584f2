"""python -m peers TUNER PROBLEM SEED BUDGET FILE [DATA]"""

import sys
from pathlib import Path

from peers import run

tuner, problem, seed, budget, file, *data = sys.argv[1:]
run(tuner, problem, int(seed), budget, Path(file), Path(data[0]) if data else None)
