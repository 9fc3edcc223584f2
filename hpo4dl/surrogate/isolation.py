"""What the user's code leaves switched in the process changes nothing in a surrogate's arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scipy import special


@contextmanager
def own_settings() -> Iterator[None]:
    """Inside, gradients are on, no anomaly is searched for, and no floating-point exception warns; also a decorator."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autograd.set_detect_anomaly(False):
        with np.errstate(all='ignore'), special.errstate(all='ignore'):
            yield
