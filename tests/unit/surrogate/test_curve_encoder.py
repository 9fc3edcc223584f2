"""The encoders: a curve's code depends on the curve alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hpo4dl.surrogate.curve_encoder import CurveEncoder


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoded(curve: list[float], padded_to: int, padding: float = 0.0, others: tuple = ()) -> list[float]:
    rows = [row + [padding] * (padded_to - len(row)) for row in (curve, *others)]
    length = torch.tensor([len(row) for row in (curve, *others)])
    with torch.no_grad():
        return CurveEncoder(4, generator())(torch.tensor(rows, dtype=torch.float64), length)[0].tolist()


@pytest.mark.parametrize('curve', [[0.7], [0.7, -0.2], [0.1 * i for i in range(9)]])
def test_padding_changes_nothing(curve: list[float]) -> None:
    code = encoded(curve, len(curve))
    for padded_to, padding, others in [(9, 0.0, ()), (20, 5.0, ()), (20, 0.0, ([1.0] * 20, [])), (20, -3.0, ([],))]:
        assert encoded(curve, padded_to, padding, others) == pytest.approx(code, abs=1e-14)


def test_no_curve_is_zero_and_a_curve_of_zeros_is_not() -> None:
    assert encoded([], 9) == [0.0] * 4
    assert encoded([], 9, 3.0, ([1.0, 2.0],)) == [0.0] * 4
    zeros = [encoded([0.0] * n, 9) for n in (1, 2, 3)]
    assert min(max(map(abs, code)) for code in zeros) > 1e-3
    assert zeros[0] != pytest.approx(zeros[1], abs=1e-3)
    assert zeros[1] != pytest.approx(zeros[2], abs=1e-3)


def test_is_the_convolution_and_the_mlp_written_out() -> None:
    encoder, curve = CurveEncoder(4, generator()), [0.3, -1.2, 0.8, 2.0]
    weight, bias, hidden, out = (p.detach().numpy() for p in encoder.parameters())
    codes = []
    for i in range(len(curve)):
        code = []
        for f in range(len(bias)):
            total = bias[f]
            for k in (-1, 0, 1):
                if 0 <= i + k < len(curve):
                    total += weight[f, 0, k + 1] * curve[i + k] + weight[f, 1, k + 1]
            code.append(math.tanh(total))
        codes.append(code)
    pooled = np.concatenate([np.mean(codes, axis=0), codes[-1]])
    assert encoded(curve, 7) == pytest.approx(np.tanh(pooled @ hidden) @ out, abs=1e-14)


def test_everything_is_in_double_precision_and_the_seed_decides() -> None:
    torch.manual_seed(1)
    first, again, other = (CurveEncoder(4, generator(seed)) for seed in (5, 5, 6))
    assert {p.dtype for p in first.parameters()} == {torch.float64}
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters()))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_parameters_all_have_a_gradient() -> None:
    encoder = CurveEncoder(4, generator())
    curve = torch.rand((3, 5), dtype=torch.float64, generator=generator())
    encoder(curve, torch.tensor([0, 2, 5])).pow(2).sum().backward()
    assert all(p.grad.abs().min() > 0 for p in encoder.parameters())
