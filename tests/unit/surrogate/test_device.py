"""The device that surrogates are fitted on is one that can compute here."""

from __future__ import annotations

import pytest
import torch

from hpo4dl import ArgumentError
from hpo4dl.surrogate.device import check_device


def test_none_stays_and_the_cpu_is_named() -> None:
    assert check_device(None) is None
    assert check_device('cpu') == check_device(torch.device('cpu')) == 'cpu'


@pytest.mark.parametrize('value', ['abacus', 'meta', 'cuda:9999', '', [], {}])
def test_one_that_cannot_compute_here_is_named(value: object) -> None:
    with pytest.raises(ArgumentError, match=r'^device: '):
        check_device(value)
