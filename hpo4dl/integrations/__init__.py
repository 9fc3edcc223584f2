"""Slurm, trackers, PyTorch checkpoints. Nothing that tunes needs it."""
