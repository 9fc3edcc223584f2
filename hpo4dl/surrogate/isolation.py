"""What the user's code leaves switched in the process changes nothing in a surrogate's arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scipy import special


@contextmanager
def own_settings() -> Iterator[None]:
    """Inside, gradients are on and are not searched for anomalies, what they need is kept as it is, and no floating-point
    exception warns or raises; also a decorator."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autograd.set_detect_anomaly(False),
        torch.autograd.graph.saved_tensors_hooks(_itself, _itself),
        np.errstate(all='ignore'),
        special.errstate(all='ignore'),
    ):
        yield


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
