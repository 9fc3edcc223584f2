"""What the user's code leaves switched in the process changes nothing in a surrogate's arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress

import numpy as np
import torch
from scipy import special
from torch.autograd.graph import saved_tensors_hooks
from torch.utils import _python_dispatch


@contextmanager
def own_settings() -> Iterator[None]:
    """Inside, gradients are on, no anomaly is searched for, and no floating-point exception warns; also a decorator."""
    with undisturbed(), torch.inference_mode(False), torch.enable_grad(), torch.autograd.set_detect_anomaly(False):
        with np.errstate(all='ignore'), special.errstate(all='ignore'):
            yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, no mode of torch is on, such as `FakeTensorMode`, and tensors are saved for gradients as they are."""
    with ExitStack() as stack:
        for where, name in ((torch._C, 'DisableTorchFunction'), (_python_dispatch, '_disable_current_modes')):
            stack.enter_context(getattr(where, name, nullcontext)())  # torch has no public names for that
        with suppress(RuntimeError):  # there can be no hooks
            stack.enter_context(saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor))
        yield
