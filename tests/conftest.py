"""One thread for all tests: their matrices are small, and what they fork has no threads but its own."""

import torch

torch.set_num_threads(1)
