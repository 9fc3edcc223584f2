"""Calls of the objective function: one call in a worker, and the engines that make calls."""
