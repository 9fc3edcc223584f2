"""Make hpo4dl/surrogate/encoder.npz: the curve encoder, learned beforehand, and print the priors of the kernel.

    python examples/benchmarks/pretrain.py --data FOLDER [--steps 8000] [--without tables] OUT.npz

A step draws a problem, made up (made_up.py) or of the development suites, and a moment of a race on it: trials trained
by successive halving, or at random. It maximizes the Student-t log-likelihood of what is to come, given what was seen:
the rest of the curves, and configurations that no trial has. Parameters of the kernel vary from problem to problem
around a common mean, which is learned; their spread over the real problems is a prior's standard deviation. The weights
of the encoder are the same for all. The same command makes the same file, but for the last bits of another machine.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import made_up
import numpy as np
import problems
import torch
from ConfigSpace import ConfigurationSpace

from hpo4dl import Policy
from hpo4dl.optimizers.output_transform import OutputTransform
from hpo4dl.optimizers.surrogate_inputs import InputBuilder
from hpo4dl.space.unit_cube import Space
from hpo4dl.surrogate.curve_encoder import CurveEncoder
from hpo4dl.surrogate.kernels import Inputs, Kernel
from hpo4dl.surrogate.model import encode
from hpo4dl.surrogate.policy import SurrogatePolicy
from hpo4dl.trial import LearningCurve

MADE_UP = 400
"""Made-up problems."""
SHARES = {'lcbench': 0.3, 'taskset': 0.2, 'table': 0.2, 'real': 0.15, 'made': 0.15}
"""How often a problem of a kind is drawn."""
ROWS, QUERIES = 130, 60
"""Observations and values to predict at most."""
WEIGHT_OF_SEEN = 0.3
"""Weight of the likelihood of the observations themselves."""
SPREAD_OF_LENGTHS = math.sqrt(3)
NAMES = [field.name for field in fields(Kernel)[1:]] + ['mean']


@dataclass
class Task:
    """A problem's configurations and their whole curves, and how its kernel's parameters differ from others'."""

    kind: str
    builder: InputBuilder
    points: np.ndarray
    curves: np.ndarray
    """(n, max_epochs), larger is better."""
    offsets: torch.Tensor
    """Of the logarithms of the d length scales, then of the others and the mean."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    parser.add_argument(
        '--data', type=Path, help='folder with lcbench/, taskset/, tables/, real/; default: made up alone'
    )
    parser.add_argument('--steps', type=int, default=8000)
    parser.add_argument('--without', nargs='*', default=[], help='suites to leave out, to test what is learned on them')
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    left_out = [n for suite in options.without for n in problems.suites(options.data)[suite]]
    names = [] if options.data is None else [n for n in problems.names(options.data) if n not in left_out]
    tasks = [real(name, options.data) for name in names]
    while len(tasks) < len(names) + MADE_UP:
        task = made(rng)
        finite = np.isfinite(task.curves)
        if finite[:, 0].mean() > 0.6 and finite[:, -1].mean() > 0.3 and np.nanstd(task.curves[:, -1]) > 1e-6:
            tasks.append(task)
    learn(tasks, options.steps, rng, options.out)


def real(name: str, data: Path) -> Task:
    problem = problems.load(name, data)
    space = Space(problem.space, problem.candidates)
    points = space.sample(np.random.default_rng(7), 600) if space.all_points is None else np.array(space.all_points)
    values = np.array([problem.curve(space.from_unit(point)) for point in points], dtype=float)
    return task_of(name.partition('-')[0], space, points, -values if problem.minimize else values)


def made(rng: np.random.Generator) -> Task:
    d = int(rng.integers(3, 13))
    space = Space(ConfigurationSpace({f'x{i}': (0.0, 1.0) for i in range(d)}))
    points = rng.random((160, d))
    return task_of('made', space, points, made_up.curves(rng, points))


def task_of(kind: str, space: Space, points: np.ndarray, curves: np.ndarray) -> Task:
    builder = InputBuilder(space, curves.shape[1], 0, Policy())
    return Task(kind, builder, points, curves, torch.zeros(space.n_features + len(NAMES), dtype=torch.float64))


def moment(task: Task, rng: np.random.Generator) -> tuple[Inputs, np.ndarray, int]:
    """Rows of a moment of a race, their targets, and how many of them were observed; the others are to come."""
    max_epochs, policy = task.curves.shape[1], task.builder.policy
    while True:
        n_seen, n_new = int(rng.integers(8, 50)), 12
        rank = np.argsort(np.argsort(np.nan_to_num(task.curves[:, -1], nan=-np.inf))) / len(task.curves)
        tilt = np.exp(2.5 * rng.random() * rank * (rng.random() < 0.6))  # a race looks for the good ones
        index = rng.choice(len(task.curves), min(n_seen + n_new, len(task.curves)), replace=False, p=tilt / tilt.sum())
        lengths = trained(task.curves[index[:n_seen]], rng)
        trials = [trial(i, task, index[i], int(length)) for i, length in enumerate(lengths)]
        values = np.array([value for each in trials for value in each.values])
        if len(values) < 4:
            continue
        transform = OutputTransform.fit(values, policy)
        inputs, z = task.builder.observations(transform, trials)
        kept = np.sort(rng.permutation(len(z))[:ROWS])
        queries = []
        for i, row in enumerate(index):
            begun = trials[i] if i < n_seen else trial(i, task, row, 0)
            if begun.failed is None and begun.epoch < max_epochs:
                ahead = begun.epoch + round(max_epochs ** rng.random())
                for epoch in sorted({begun.epoch + 1, min(ahead, max_epochs), max_epochs}):
                    if np.isfinite(task.curves[row, :epoch]).all() and (begun.epoch or epoch > 1):
                        queries.append((begun, epoch, task.curves[row, epoch - 1]))
        queries = [queries[i] for i in rng.permutation(len(queries))[:QUERIES]]
        if queries:
            of, epochs, to_come = zip(*queries)
            rows = joined(inputs.take(kept), task.builder.inputs(transform, of, epochs))
            return rows, np.concatenate([z[kept], transform(np.array(to_come))]), len(kept)


def trial(number: int, task: Task, row: int, epoch: int) -> LearningCurve:
    """A configuration as a trial that was trained so far."""
    values = task.curves[row, :epoch]
    n = int(np.argmin(np.append(np.isfinite(values), False)))
    failed = 'diverged' if n < epoch else None
    return LearningCurve(number, {}, task.points[row], n, list(range(1, n + 1)), values[:n].tolist(), failed=failed)


def trained(curves: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) epochs that trials are trained: at random, or by successive halving."""
    n, max_epochs = curves.shape
    if rng.random() < 0.25:
        return np.clip(np.round(max_epochs ** rng.random(n)), 1, max_epochs).astype(int)
    eta, epoch = rng.choice([1.7, 3.0]), min(int(rng.integers(1, 3)), max_epochs)
    lengths, alive = np.full(n, epoch), np.arange(n)
    while epoch < max_epochs and len(alive) > 1 and rng.random() > 0.12:
        values = np.nan_to_num(curves[alive, epoch - 1], nan=-np.inf)
        alive = alive[np.argsort(-values, kind='stable')][: max(1, round(len(alive) / eta * rng.uniform(0.6, 1.2)))]
        epoch = min(max_epochs, max(epoch + 1, round(epoch * eta)))
        lengths[alive] = epoch
    return np.minimum(lengths + rng.integers(0, 3, n) * (rng.random(n) < 0.2), max_epochs)


def joined(a: Inputs, b: Inputs) -> Inputs:
    width = max(a.curve.shape[1], b.curve.shape[1])
    curves = [np.pad(each.curve, ((0, 0), (0, width - each.curve.shape[1]))) for each in (a, b)]
    of = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in ('trial', 'x', 't', 'length')}
    return Inputs(**of, curve=np.concatenate(curves), max_epochs=a.max_epochs)


def learn(tasks: list[Task], steps: int, rng: np.random.Generator, out: Path) -> None:
    policy = SurrogatePolicy()
    psi = CurveEncoder(initial_weights(rng))
    means = torch.tensor([policy.l_x[0], *(getattr(policy, name)[0] for name in NAMES)], dtype=torch.float64)
    spread = torch.tensor([getattr(policy, name)[1] for name in NAMES], dtype=torch.float64)
    for tensor in (means, *(task.offsets for task in tasks)):
        tensor.requires_grad_()
    common = [means, *psi.parameters()]
    kinds = {kind: [task for task in tasks if task.kind == kind] for kind in SHARES}
    shares = np.array([SHARES[kind] if kinds[kind] else 0.0 for kind in kinds])
    losses = []
    own = [task.offsets for task in tasks]
    optimizer = torch.optim.Adam([{'params': common}, {'params': own, 'lr': 0.03}])
    for step in range(steps):
        warmed_up, annealed = min(1.0, (step + 1) / 100), 0.51 + 0.49 * math.cos(math.pi * step / steps)
        optimizer.param_groups[0]['lr'] = 5e-3 * warmed_up * annealed
        of_kind = kinds[rng.choice(list(kinds), p=shares / shares.sum())]
        task = of_kind[rng.integers(len(of_kind))]
        inputs, z, n = moment(task, rng)
        d = task.builder.space.n_features
        l_x, theta = means[0] + 0.5 * math.log(d) + task.offsets[:d], means[1:] + task.offsets[d:]
        rows = encode(inputs, l_x.exp(), theta[-1], psi)
        K = Kernel(policy, *theta[:-1].exp().unbind()).of_observations(rows)
        try:
            L = torch.linalg.cholesky(K)
        except torch.linalg.LinAlgError:
            continue
        error = torch.linalg.solve_triangular(L, (torch.as_tensor(z) - rows.mean)[:, None], upper=False)[:, 0]
        # One step ahead, row by row: the density of Student's t with three degrees of freedom.
        log_density = -2 * torch.log1p(error**2 / 3) - L.diagonal().log() - 1.0009
        prior = (task.offsets[:d] / SPREAD_OF_LENGTHS).square().sum() + (task.offsets[d:] / spread).square().sum()
        loss = -log_density[n:].mean() - WEIGHT_OF_SEEN * log_density[:n].mean() + prior / 600
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(common, 2.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 1000 == 0:
            print(f'{step + 1} steps: loss {np.mean(losses[-1000:]):.3f}', flush=True)
    np.savez(out, **{name: weight.detach().numpy() for name, weight in psi.named_parameters()})
    offsets = torch.stack(
        [task.offsets.detach()[-len(NAMES) :] for task in tasks if task.kind != 'made'] or [spread * 0]
    )
    lengths = torch.cat([task.offsets.detach()[: -len(NAMES)] for task in tasks])
    for name, mean, std in zip(['l_x', *NAMES], means.tolist(), [lengths.std(), *offsets.std(dim=0)]):
        print(f'{name}: Prior = ({mean:.2f}, {float(std):.2f})')


def initial_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    filters, hidden, channels, times = 8, 16, 3, 4
    width = 2 * filters + 1 + times
    return {
        'weight': rng.uniform(-1, 1, (filters, channels, 3)) / 3,
        'bias': rng.uniform(-1, 1, filters) / 3,
        'hidden': rng.uniform(-1, 1, (width, hidden)) / math.sqrt(width),
        'hidden_bias': rng.uniform(-1, 1, hidden) / math.sqrt(width),
        'out': 0.1 * rng.uniform(-1, 1, hidden) / math.sqrt(hidden),
    }


if __name__ == '__main__':
    main()
