"""The device that surrogates are fitted on."""

from __future__ import annotations

import torch

from ..errors import ArgumentError


def check_device(value: object) -> str | None:
    """Raises ArgumentError unless torch can compute on the device; None is the CPU."""
    if value is None:
        return None
    try:
        device = torch.device(value)  # type: ignore[call-overload]
        torch.zeros(1, device=device).item()
    except Exception as error:  # torch raises RuntimeError, AssertionError, TypeError
        raise ArgumentError('device', value, f"'cpu', or an accelerator that torch can use here ({error})") from error
    return str(device)
