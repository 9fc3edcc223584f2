"""The deep-kernel Gaussian process: kernels, exact fit, posterior, predictions."""
