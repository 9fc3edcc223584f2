"""One thread for all tests: their matrices are small, and what they fork has no threads but its own.

A shell's background jobs ignore Ctrl-C, and so does what they start; tests of Ctrl-C need it here and there.
"""

import signal

import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
