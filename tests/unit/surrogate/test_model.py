"""The surrogate against its formulas written out in loops, explicit solves, SciPy and finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from hpo4dl.surrogate.adam import Adam
from hpo4dl.surrogate.kernels import Inputs, Kernel, KernelInputs
from hpo4dl.surrogate.model import Surrogate
from hpo4dl.surrogate.policy import SurrogatePolicy
from hpo4dl.surrogate.prediction import CandidatePosterior, ConditionedGP, Prediction

D, EPOCHS = 3, 9
POLICY = SurrogatePolicy()
PARAMETERS = ('l_t', 'l_c', 's_m', 's_x', 's_d', 's_c', 'r', 's_n', 's_1')
KERNEL = Kernel(POLICY, l_t=0.6, l_c=0.9, s_m=0.3, s_x=1.1, s_d=0.2, s_c=0.05, r=0.7, s_n=0.02, s_1=0.3)


def kernel_inputs(seed: int, trials: list[int]) -> KernelInputs:
    """One row for each entry of `trials`; the configuration of a trial depends on nothing but its number.

    Epochs are drawn from six, so that some are the same, of which one may be missing.
    """
    rng = np.random.default_rng(seed)
    distinct, trial_index = np.unique(np.array(trials, dtype=np.int64), return_inverse=True)
    x_scaled = np.array([np.random.default_rng(i).normal(size=D) for i in distinct]).reshape(-1, D)
    code = rng.normal(size=(len(trials), 4))
    t = rng.random(6)
    trial, epoch_index = np.array(trials, dtype=np.int64), rng.integers(6, size=len(trials))
    return KernelInputs(trial, trial_index.reshape(-1), epoch_index, x_scaled, t, code, rng.normal(size=len(trials)))


def rows(seed: int, trials: list[int]) -> Inputs:
    """One row for each entry of `trials`, each one epoch after its trial's last one; curves are arbitrary."""
    rng = np.random.default_rng(seed)
    length = np.array([trials[:i].count(trial) for i, trial in enumerate(trials)], dtype=np.int64)
    return Inputs(
        trial=np.array(trials, dtype=np.int64),
        x=np.array([np.random.default_rng(i).random(D) for i in trials]).reshape(-1, D),
        t=np.log(length + 1) / math.log(EPOCHS),
        curve=np.where(np.arange(EPOCHS) < length[:, None], rng.normal(size=(len(trials), EPOCHS)), 0.0),
        length=length,
        max_epochs=EPOCHS,
    )


TRIALS = [0, 0, 4, 1, 0, 1, 2, 4, 0]
Z = np.random.default_rng(3).normal(size=len(TRIALS))


def covariance(a: KernelInputs, b: KernelInputs) -> np.ndarray:
    """The formula at the head of the module, one pair at a time."""

    def distance(p: np.ndarray, q: np.ndarray) -> float:
        return math.sqrt(sum((float(u) - float(v)) ** 2 for u, v in zip(p, q)))

    def k_32(r: float) -> float:
        return (1 + math.sqrt(3) * r) * math.exp(-math.sqrt(3) * r)

    def k_52(r: float) -> float:
        return (1 + math.sqrt(5) * r + 5 * r * r / 3) * math.exp(-math.sqrt(5) * r)

    k = {name: float(getattr(KERNEL, name)) for name in PARAMETERS}
    K = np.zeros((len(a.trial), len(b.trial)))
    for i in range(len(a.trial)):
        for j in range(len(b.trial)):
            lag = abs(a.t[a.epoch_index[i]] - b.t[b.epoch_index[j]])
            near = k['s_m'] + k['s_x'] * k_52(distance(a.x_scaled[a.trial_index[i]], b.x_scaled[b.trial_index[j]]))
            K[i, j] = near * (k['r'] + k_32(lag / k['l_t'])) / (1 + k['r'])
            K[i, j] += k['s_d'] * math.exp(-(distance(a.curve_code[i], b.curve_code[j]) ** 2) / 2)
            if a.trial[i] == b.trial[j]:
                K[i, j] += k['s_c'] * k_32(lag / k['l_c'])
    return K


def noise(at: KernelInputs) -> np.ndarray:
    return np.diag([POLICY.min_noise + 0.02 + 0.3 * math.exp(-t / POLICY.noise_decay) for t in at.t[at.epoch_index]])


def in_torch(at: KernelInputs) -> KernelInputs:
    return KernelInputs(*[torch.as_tensor(array) for array in vars(at).values()])


def test_kernel_is_the_formula_written_out() -> None:
    a, b = kernel_inputs(0, TRIALS), kernel_inputs(1, [4, 7, 7, 0])
    np.testing.assert_allclose(KERNEL(a, b), covariance(a, b), atol=1e-6)
    np.testing.assert_allclose(np.diag(KERNEL(a, a)), float(KERNEL.variance()), atol=1e-6)
    torch_kernel = Kernel(POLICY, *[torch.tensor(getattr(KERNEL, name), dtype=torch.float64) for name in PARAMETERS])
    np.testing.assert_allclose(torch_kernel(in_torch(a), in_torch(b)).numpy(), KERNEL(a, b), atol=1e-12)
    np.testing.assert_allclose(KERNEL.of_observations(a), covariance(a, a) + noise(a), atol=1e-6)
    np.testing.assert_allclose(torch_kernel.noise(in_torch(a).t).numpy(), KERNEL.noise(a.t), atol=1e-12)


def test_posterior_is_an_explicit_solve() -> None:
    a, b = kernel_inputs(0, TRIALS), kernel_inputs(1, [4, 7, 7, 0])
    inverse, Ks = np.linalg.inv(covariance(a, a) + noise(a)), covariance(a, b)
    mean, variance = ConditionedGP.condition(KERNEL, a, Z).predict(b)
    np.testing.assert_allclose(mean, b.mean + Ks.T @ inverse @ (Z - a.mean), atol=1e-5)
    np.testing.assert_allclose(variance, 0.3 + 1.1 + 0.2 + 0.05 - np.diag(Ks.T @ inverse @ Ks), atol=1e-5)


@pytest.mark.parametrize('t_new', [0.0, 0.37, 1.0])
def test_candidates_are_predicted_as_rows_are(t_new: float) -> None:
    """New ones as rows of trials of their own, without curves. Deviations are bounds first, then exact where asked."""
    trials = [*TRIALS, 7, 3, 3, 8]
    z = np.random.default_rng(3).normal(size=13)
    conditioned = ConditionedGP.condition(KERNEL, kernel_inputs(0, trials), z)
    at = kernel_inputs(1, [4, 7, 9, 0, 0])
    h = np.random.default_rng(5).normal(size=(6, D))
    h[0] = conditioned.inputs.x_scaled[1]  # where a trial is
    t = np.array([0.2, 0.9, 0.2, 0.5, 1.0])
    code, mean_new = np.full((1, 4), 0.3), np.array([-0.7])
    unbegun = KernelInputs(np.array([-1]), np.zeros(1, int), np.zeros(1, int), h[:1], np.array([t_new]), code, mean_new)
    new = replace(
        unbegun,
        trial=np.arange(100, 106),
        trial_index=np.arange(6),
        epoch_index=np.zeros(6, int),
        x_scaled=h,
        curve_code=np.repeat(code, 6, axis=0),
        mean=np.repeat(mean_new, 6),
    )
    at_t = replace(at, epoch_index=np.arange(5), t=t)
    general = [conditioned.predict(p) for p in (at_t, new)]
    mean, variance = np.concatenate(general, axis=1)

    predicted = CandidatePosterior(
        conditioned, lambda *asked: (at_t, unbegun), at.trial, at.x_scaled[at.trial_index], h
    ).predict(t, t_new)
    np.testing.assert_allclose(predicted.mean, mean, atol=1e-10)
    bound = predicted.std.copy()
    assert (bound >= np.sqrt(variance) - 1e-9).all()
    assert not np.allclose(bound, np.sqrt(variance))
    predicted.refine(np.array([9, 2, 6]))
    expected = np.where(np.isin(np.arange(11), [2, 6, 9]), np.sqrt(variance), bound)
    np.testing.assert_allclose(predicted.std, expected, atol=1e-9)
    assert np.flatnonzero(predicted.is_exact).tolist() == [2, 6, 9]
    predicted.refine(np.arange(11))
    np.testing.assert_allclose(predicted.std, np.sqrt(variance), atol=1e-9)


def test_what_was_extended_is_what_was_conditioned_at_once() -> None:
    at = kernel_inputs(0, TRIALS)
    parts = [part(at, s) for s in (slice(0, 2), slice(2, 6), slice(6, 9))]
    grown = ConditionedGP.condition(KERNEL, parts[0], Z[:2])
    before = grown.predict(at)
    further = grown.extend(parts[1], Z[2:6]).extend(parts[2], Z[6:])
    at_once, asked = ConditionedGP.condition(KERNEL, at, Z), kernel_inputs(1, [4, 7, 7, 0])
    np.testing.assert_allclose(further.predict(asked), at_once.predict(asked), atol=1e-9)
    np.testing.assert_array_equal(grown.predict(at), before)  # it never changes


def part(at: KernelInputs, rows: slice) -> KernelInputs:
    """These rows of it; their trials and epochs numbered anew."""
    _, first, trial_index = np.unique(at.trial[rows], return_index=True, return_inverse=True)
    t, epoch_index = np.unique(at.t[at.epoch_index[rows]], return_inverse=True)
    x_scaled = at.x_scaled[at.trial_index[rows]][first]
    code = at.curve_code[rows]
    index = trial_index.reshape(-1), epoch_index.reshape(-1)
    return KernelInputs(at.trial[rows], *index, x_scaled, t, code, at.mean[rows])


def test_the_same_row_again_and_again_without_noise() -> None:
    one = kernel_inputs(0, [0, 1])
    kernel = replace(KERNEL, s_n=-POLICY.min_noise, s_1=0.0)
    conditioned = ConditionedGP.condition(kernel, one, np.array([1.0, -1.0]))
    for _ in range(3):
        conditioned = conditioned.extend(one, np.array([1.0, -1.0]))
    mean, variance = conditioned.predict(one)
    assert mean == pytest.approx([1.0, -1.0], abs=1e-3)
    assert variance.max() < 1e-3


def exactly(predicted: Prediction) -> tuple[np.ndarray, np.ndarray]:
    predicted.refine(np.arange(len(predicted.mean)))
    return predicted.mean, predicted.std


def randomized(surrogate: Surrogate, seed: int) -> np.random.Generator:
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in surrogate.parameters():
            parameter += torch.as_tensor(0.3 * rng.normal(size=parameter.shape))
    return rng


def scipys_log_posterior(surrogate: Surrogate, at: Inputs, z: np.ndarray) -> float:
    theta = surrogate.parameters()[0].detach().numpy()
    p = {'l_x': theta[:D], **dict(zip(PARAMETERS, theta[D:-1])), 'mean': theta[-1]}
    kernel = Kernel(POLICY, *[np.exp(p[name]) for name in PARAMETERS])
    inputs = surrogate.kernel_inputs(at)
    early = np.exp(p['s_1']) * np.exp(-at.t / POLICY.noise_decay)
    K = kernel(inputs, inputs) + np.diag(POLICY.min_noise + np.exp(p['s_n']) + early)
    prior_mean = p['mean'] + inputs.curve_code @ surrogate.parameters()[-1].detach().numpy()
    total = multivariate_normal(prior_mean, K).logpdf(z)
    for name in ('l_x', *PARAMETERS, 'mean'):
        median, std = getattr(POLICY, name)
        shift = math.log(D) / 2 if name == 'l_x' else 0
        total += norm(median + shift, std).logpdf(p[name]).sum()
    first = Surrogate(D, POLICY).parameters()[1:]
    for weight, begun in zip(surrogate.parameters()[1:], first):
        total += norm(begun.detach().numpy(), POLICY.weight_prior_std).logpdf(weight.detach().numpy()).sum()
    return float(total)


def test_log_posterior_is_scipys_up_to_a_constant() -> None:
    differences = []
    for seed in range(3):
        surrogate, at = Surrogate(D, POLICY), rows(0, TRIALS)
        randomized(surrogate, seed)
        differences.append(surrogate.log_posterior(at, Z).item() - scipys_log_posterior(surrogate, at, Z))
    assert np.ptp(differences) < 1e-7


def test_gradient_is_that_of_finite_differences() -> None:
    surrogate, at = Surrogate(D, POLICY), rows(0, TRIALS)
    rng = randomized(surrogate, 1)
    surrogate.log_posterior(at, Z).backward()
    for parameter in surrogate.parameters():
        direction = torch.as_tensor(rng.normal(size=parameter.shape))
        values = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                parameter += step * direction
            values.append(surrogate.log_posterior(at, Z).item())
        with torch.no_grad():
            parameter += 1e-5 * direction
        along = (parameter.grad * direction).sum().item()
        assert along == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-4)


def test_steps_are_those_of_torchs_adam() -> None:
    mine, theirs = ([torch.ones(3, dtype=torch.float64), torch.full((), 2.0, dtype=torch.float64)] for _ in range(2))
    for parameter in (*mine, *theirs):
        parameter.requires_grad_()
    adam = Adam([(mine[0], 0.1), (mine[1], 0.02)])
    torchs = torch.optim.Adam([{'params': [theirs[0]], 'lr': 0.1}, {'params': [theirs[1]], 'lr': 0.02}])

    def loss(vector: torch.Tensor, scalar: torch.Tensor) -> torch.Tensor:
        return (torch.arange(3) * (vector - scalar) ** 4).sum() + scalar.exp()

    for _ in range(30):
        adam.step(loss(*mine))
        torchs.zero_grad()
        loss(*theirs).backward()
        torchs.step()
    for one, other in zip(mine, theirs):
        np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), rtol=1e-12)
    assert mine[1].item() < 1.9


def test_a_fit_improves_the_posterior_and_a_later_one_goes_on() -> None:
    surrogate, at = Surrogate(D, POLICY), rows(0, TRIALS)
    z = at.x.sum(1) + at.t
    values = [surrogate.log_posterior(at, z).item()]
    for _ in range(3):
        surrogate.fit(at, z)
        values.append(surrogate.log_posterior(at, z).item())
    assert values[1] > values[0] + 1
    assert values[3] > values[2] > values[1]


def test_a_fit_conditions_on_every_row() -> None:
    trials = list(range(80))
    at = rows(0, trials)
    surrogate = Surrogate(D, replace(POLICY, max_fit_rows=60))
    surrogate.fit(at, at.x.sum(1))
    assert surrogate.trials() == set(trials)
    mean, _ = surrogate.predict(at)
    assert mean == pytest.approx(at.x.sum(1), abs=0.1)


NONSENSE = {
    'constant': (rows(0, TRIALS), np.zeros(9)),
    'one row': (rows(0, [3]), np.array([0.7])),
    'one row again and again': (rows(0, [0] * 3).take(np.full(100, 2)), np.linspace(-1, 1, 100)),
    'huge': (rows(0, TRIALS), 1e300 * Z),
    'infinite': (rows(0, TRIALS), np.where(Z > 0, np.inf, -np.inf)),
    'huge curves': (replace(rows(0, TRIALS), curve=1e300 * rows(0, TRIALS).curve), Z),
    'huge configurations': (replace(rows(0, TRIALS), x=1e300 * rows(0, TRIALS).x), Z),
}


@pytest.mark.parametrize('case', NONSENSE)
@pytest.mark.filterwarnings('ignore:overflow|invalid:RuntimeWarning')
def test_nothing_makes_it_fail(case: str) -> None:
    at, z = NONSENSE[case]
    surrogate = Surrogate(D, POLICY)
    for _ in range(2):
        surrogate.fit(at, z)
        surrogate.append(at, z)
        predicted = surrogate.candidates(at, rows(9, [8, 9]).x, running=at).predict(at.t, 0.5)
        predicted.refine(np.arange(3))
        assert predicted.mean.shape == predicted.std.shape == (len(z) + 2,)
        mean, deviation = surrogate.predict(at)
        assert mean.shape == deviation.shape == (len(z),)
    # Nor does it remember: good rows later are learned from as ever.
    good = rows(0, list(range(30)))
    good = replace(good, t=good.t + 0.5)  # not the first epochs, which may be noise
    surrogate.fit(good, good.x.sum(1))
    surrogate.fit(good, good.x.sum(1))
    mean, deviation = surrogate.predict(good)
    assert mean == pytest.approx(good.x.sum(1), abs=0.3)
    assert (deviation > 0).all()


def test_before_the_first_fit_it_predicts_its_prior() -> None:
    at = rows(0, [1, 2])
    surrogate = Surrogate(D, POLICY)
    mean, deviation = exactly(surrogate.candidates(at, rows(0, [3]).x).predict(at.t, 0.5))
    medians = [math.exp(getattr(POLICY, name)[0]) for name in ('s_m', 's_x', 's_d', 's_c')]
    inputs = surrogate.kernel_inputs(at)
    assert mean[:2] == pytest.approx(inputs.mean)
    assert deviation == pytest.approx([math.sqrt(sum(medians))] * 3)


def test_without_hyperparameters_to_learn_from() -> None:
    at = rows(0, TRIALS)
    at = replace(at, x=at.x[:, :0])
    surrogate = Surrogate(0, POLICY)
    surrogate.fit(at, Z)
    mean, deviation = exactly(surrogate.candidates(at, np.zeros((2, 0))).predict(at.t, 1.0))
    assert np.isfinite([mean, deviation]).all()
    assert mean[-1] == mean[-2]


def test_a_configuration_is_its_hyperparameters_over_their_length_scales() -> None:
    surrogate, at = Surrogate(D, POLICY), rows(0, TRIALS)
    surrogate.fit(at, Z)
    inputs, length_scale = surrogate.kernel_inputs(at), surrogate.parameters()[0][:D].detach().exp().numpy()
    np.testing.assert_allclose(inputs.x_scaled[inputs.trial_index], at.x / length_scale, rtol=1e-12)


def test_what_runs_leaves_means_and_shrinks_deviations() -> None:
    surrogate, at, running = Surrogate(D, POLICY), rows(0, TRIALS), rows(1, [1, 6, 6])
    surrogate.fit(at, Z)
    asked, new = rows(2, [0, 1, 6]), np.concatenate([running.x[1:2], rows(9, [8, 9]).x])
    alone = exactly(surrogate.candidates(asked, new).predict(asked.t, 0.5))
    beside = exactly(surrogate.candidates(asked, new, running).predict(asked.t, 0.5))
    np.testing.assert_allclose(beside[0], alone[0], atol=1e-7)
    assert (beside[1] <= alone[1] + 1e-9).all()
    assert beside[1][2] < 0.9 * alone[1][2]
    assert beside[1][3] < 0.95 * alone[1][3]
    again = exactly(surrogate.candidates(asked, new).predict(asked.t, 0.5))
    np.testing.assert_array_equal(again, alone)  # and it forgets them


def test_appended_rows_are_as_good_as_fitted_ones() -> None:
    at = rows(0, TRIALS)
    surrogate = Surrogate(D, POLICY)
    surrogate.fit(at.take(np.arange(5)), Z[:5])
    surrogate.append(at.take(np.arange(5, 9)), Z[5:])
    asked = rows(2, [0, 7])
    exact = ConditionedGP.condition(surrogate.gp.kernel, surrogate.kernel_inputs(at), Z)
    mean, variance = exact.predict(surrogate.kernel_inputs(asked))
    np.testing.assert_allclose(surrogate.predict(asked), (mean, np.sqrt(variance)), atol=1e-8)
    assert surrogate.trials() == set(TRIALS)


def test_variance_factor_is_how_wrong_forecasts_one_step_ahead_were() -> None:
    """Each row of a trial, but the first, against SciPy's normal distribution of all rows until there."""
    at, targets = rows(3, TRIALS), 3 * Z
    surrogate = Surrogate(D, POLICY)
    surrogate.fit(at.take(np.arange(6)), targets[:6])
    surrogate.append(at.take(np.arange(6, 9)), targets[6:])
    K = surrogate.gp.kernel.of_observations(surrogate.gp.inputs)
    mean = surrogate.gp.inputs.mean
    for trial in (0, 1, 2, 4, 99):
        squares = []
        for i in [i for i, other in enumerate(TRIALS) if other == trial][1:]:
            until, before = (multivariate_normal(mean[:n], K[:n, :n]) for n in (i + 1, i))
            conditional = until.logpdf(targets[: i + 1]) - before.logpdf(targets[:i])
            variance = 1 / np.linalg.inv(K[: i + 1, : i + 1])[i, i]
            squares.append(-2 * conditional - math.log(2 * math.pi * variance))
        assert surrogate.variance_factor(trial) == pytest.approx((1 + sum(squares)) / (1 + len(squares)))
    assert surrogate.variance_factor(2) == surrogate.variance_factor(99) == 1


def test_it_learns_a_smooth_function() -> None:
    at = rows(0, list(range(60)))
    z = np.sin(4 * at.x[:, 0]) + at.x[:, 1] ** 2
    surrogate = Surrogate(D, POLICY)
    for _ in range(3):
        surrogate.fit(at, z)
    new = np.random.default_rng(7).random((50, D))
    truth = np.sin(4 * new[:, 0]) + new[:, 1] ** 2
    none = at.take(np.zeros(0, dtype=np.int64))
    mean, deviation = exactly(surrogate.candidates(none, new).predict(none.t, 0.0))
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.4 * truth.std()
    assert np.mean(np.abs(mean - truth) < 3 * deviation) > 0.9


def test_what_it_sees_of_a_curve_does_not_vanish() -> None:
    at = rows(0, [i // 6 for i in range(60)])
    surrogate = Surrogate(D, POLICY)
    begun = surrogate.kernel_inputs(at).curve_code
    for _ in range(10):
        surrogate.fit(at, at.t - at.x[:, 0])  # curves that have nothing to tell
    assert np.linalg.norm(surrogate.kernel_inputs(at).curve_code) > 0.2 * np.linalg.norm(begun) > 0


def test_global_generators_are_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Surrogate(D, POLICY).fit(rows(0, TRIALS), Z)
    assert torch.equal(torch.get_rng_state(), before)
