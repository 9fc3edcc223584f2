"""The encoder: a curve's code depends on the curve and the epoch to predict alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hpo4dl.surrogate.curve_encoder import CurveEncoder, pretrained

MAX_EPOCHS = 27


def encoded(
    curve: list[float], padded_to: int, padding: float = 0.0, others: tuple = (), t: float = 0.8
) -> list[float]:
    rows = [row + [padding] * (padded_to - len(row)) for row in (curve, *others)]
    length = torch.tensor([len(row) for row in (curve, *others)])
    at = torch.full((len(rows),), t, dtype=torch.float64)
    with torch.no_grad():
        return CurveEncoder(pretrained())(torch.tensor(rows, dtype=torch.float64), length, at, MAX_EPOCHS)[0].tolist()


@pytest.mark.parametrize('curve', [[], [0.7], [0.7, -0.2], [0.1 * i for i in range(9)]])
def test_padding_changes_nothing(curve: list[float]) -> None:
    code = encoded(curve, len(curve))
    for padded_to, padding, others in [(9, 0.0, ()), (20, 5.0, ()), (20, 0.0, ([1.0] * 20, [])), (20, -3.0, ([],))]:
        assert encoded(curve, padded_to, padding, others) == pytest.approx(code, abs=1e-14)


def test_no_curve_differs_from_zeros_and_the_epoch_to_predict_counts() -> None:
    codes = [encoded([0.0] * n, 9) for n in (0, 1, 2, 3)]
    for i, code in enumerate(codes):
        assert all(code != pytest.approx(other, abs=1e-3) for other in codes[:i])
    assert encoded([0.3], 9, t=0.5) != pytest.approx(encoded([0.3], 9, t=1.0), abs=1e-2)


def test_is_the_convolution_and_the_mlp_written_out() -> None:
    curve, t = [0.3, -1.2, 0.8, 2.0], 0.8
    weight, bias, hidden, hidden_bias, _ = (p.detach().numpy() for p in CurveEncoder(pretrained()).parameters())
    codes = []
    for i in range(len(curve)):
        code = []
        for f in range(len(bias)):
            total = bias[f]
            for k in (-1, 0, 1):
                if 0 <= i + k < len(curve):
                    channels = (curve[i + k], 1.0, (i + k + 1) / MAX_EPOCHS)
                    total += sum(weight[f, c, k + 1] * value for c, value in enumerate(channels))
            code.append(math.tanh(total))
        codes.append(code)
    times = [math.log(5) / math.log(MAX_EPOCHS), 4 / MAX_EPOCHS, t, MAX_EPOCHS**t / MAX_EPOCHS]
    features = np.concatenate([np.mean(codes, axis=0), codes[-1], curve[-1:], times])
    assert encoded(curve, 7, t=t) == pytest.approx(np.tanh(features @ hidden + hidden_bias), abs=1e-13)


def test_everything_is_in_double_precision_and_starts_from_what_was_learned() -> None:
    encoder = CurveEncoder(pretrained())
    assert {p.dtype for p in encoder.parameters()} == {torch.float64}
    with torch.no_grad():
        encoder.weight += 1
    assert torch.equal(CurveEncoder(pretrained()).weight + 1, encoder.weight)  # nobody's fit changes another's start


def test_parameters_all_have_a_gradient() -> None:
    encoder, generator = CurveEncoder(pretrained()), torch.Generator().manual_seed(0)
    curve = torch.rand((3, 5), dtype=torch.float64, generator=generator)
    t = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    (encoder(curve, torch.tensor([0, 2, 5]), t, MAX_EPOCHS) @ encoder.out).pow(2).sum().backward()
    assert all(p.grad.abs().min() > 0 for p in encoder.parameters())


def test_what_was_learned_is_small_and_expects_curves_to_rise() -> None:
    """On a curve that rises, the mean at the end lies above that at the next epoch."""
    weights = pretrained()
    assert sum(weight.nbytes for weight in weights.values()) < 20_000
    curve = [-1.0, -0.5, -0.2]
    soon, late = (np.dot(encoded(curve, 3, t=t), weights['out']) for t in (math.log(4) / math.log(MAX_EPOCHS), 1.0))
    assert late > soon + 0.1
