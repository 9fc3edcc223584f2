"""Made-up tuning problems to learn from: curves of a random family, whose parameters vary smoothly over the space.

Families: power laws, exponentials, logarithms, sigmoids, mixtures, Hill curves. On top of these, each by chance: a
schedule that holds the middle down and lifts the end, warm-up, overfitting, plateaus at chance, noise of any size,
spikes, logarithms of the metric, divergence.
"""

from __future__ import annotations

import numpy as np

MAX_EPOCHS = (5, 7, 10, 12, 20, 27, 40, 52, 81)


def curves(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """(n, max_epochs) values at configurations x (n, d) in the unit cube; larger is better, NaN after divergence."""
    max_epochs = int(rng.choice(MAX_EPOCHS))
    epoch = np.arange(1, max_epochs + 1)[None]
    share = epoch / max_epochs
    latent = smooth(rng, x, 8)[:, :, None]
    start = rng.uniform(0, 0.3)
    end = sigmoid(rng.uniform(0.5, 2.5) * latent[:, 0] + rng.uniform(-1, 2))
    log_rate = rng.uniform(0.3, 1.2) * (latent[:, 0] + latent[:, 1]) / 2 + rng.uniform(-2.5, 1.2)
    y = start + (end - start) * scheduled(rng, rising(rng, epoch, share, np.exp(log_rate), latent), share, latent)
    if rng.random() < 0.3:
        fall = np.maximum(latent[:, 6] - 0.3, 0) * rng.uniform(0.02, 0.2)
        y = y - fall * np.maximum(share - rng.uniform(0.1, 0.6), 0)
    if rng.random() < 0.35:
        y = np.where(latent[:, 7] > np.quantile(latent[:, 7], rng.uniform(0.6, 0.95)), start, y)
    std = 10 ** rng.uniform(-4, -1.3) * np.exp(0.5 * rng.random() * latent[:, 2])
    y = y + std * rng.standard_normal(y.shape)
    if rng.random() < 0.3:
        y = y - (rng.random(y.shape) < rng.uniform(0, 0.06)) * rng.exponential(0.15, y.shape)
    if rng.random() < 0.3:
        y = np.log(np.maximum(y + rng.choice([0.001, 0.02]), 1e-3))
    if rng.random() < 0.35:
        risk = latent[:, 7] + 0.3 * rng.standard_normal((len(x), 1))
        diverged = (risk > np.quantile(risk, rng.uniform(0.6, 0.97))) & (
            epoch > rng.integers(1, max_epochs, (len(x), 1))
        )
        y = np.where(diverged, np.nan, y)
    return y


def rising(
    rng: np.random.Generator, epoch: np.ndarray, share: np.ndarray, rate: np.ndarray, latent: np.ndarray
) -> np.ndarray:
    """(n, max_epochs) curves from 0 towards 1."""
    family = rng.integers(6)
    if family == 0:
        return 1 - (1 + epoch) ** -np.clip(rate, 0.05, 3)
    if family == 1:
        return 1 - np.exp(-rate * epoch / rng.uniform(1, 8))
    if family == 2:
        return np.log1p(rate * epoch) / np.log1p(rate * epoch.max()) * (1 - np.exp(-rate))
    if family == 3:
        return sigmoid((share - np.clip(0.3 + 0.25 * latent[:, 2], 0.02, 0.9)) * np.exp(rng.uniform(1.2, 3)))
    if family == 4:
        fast = sigmoid(latent[:, 3])
        return fast * (1 - np.exp(-rate * epoch)) + (1 - fast) * (1 - (1 + epoch) ** -0.4)
    return 1 - 1 / (1 + (rate * epoch) ** rng.uniform(0.5, 1.5))


def scheduled(rng: np.random.Generator, y: np.ndarray, share: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """The curves under a learning-rate schedule, where there is one."""
    if rng.random() < 0.35:
        held = np.clip(rng.uniform(0.1, 0.7) * sigmoid(1.5 * latent[:, 4]), 0, 0.95)
        annealed = (share ** rng.uniform(2, 6), (1 - np.cos(np.pi * share)) / 2, share > rng.uniform(0.4, 0.8))
        y = y * (1 - held + held * annealed[rng.integers(3)])
    if rng.random() < 0.25:
        warm_up = np.clip(rng.uniform(0.02, 0.4) * (1 + 0.5 * latent[:, 5]), 0.01, 0.8)
        y = y * np.clip(share / warm_up, 0, 1) ** rng.uniform(0.5, 2)
    return y


def smooth(rng: np.random.Generator, x: np.ndarray, n: int) -> np.ndarray:
    """(rows, n) random functions of x, standardized; only some columns of x matter, and often one place is best."""
    weight = rng.exponential(size=x.shape[1]) * (rng.random(x.shape[1]) < 0.6)
    weight = weight / max(weight.max(), 1e-9) * rng.uniform(0.5, 2.5)
    functions = []
    for _ in range(n):
        frequency = (
            rng.standard_normal((x.shape[1], 64))
            * (1.7 * weight * np.exp(0.7 * rng.standard_normal(x.shape[1])))[:, None]
        )
        f = np.cos(x @ frequency + rng.uniform(0, 2 * np.pi, 64)) @ rng.standard_normal(64)
        if rng.random() < 0.7:
            distance = (x - rng.random(x.shape[1])) ** 2 @ (weight / max(weight.sum(), 1e-9))
            f = f / max(f.std(), 1e-9) - 12 * rng.uniform(0.5, 3) * distance
        functions.append((f - f.mean()) / max(f.std(), 1e-9))
    return np.stack(functions, axis=1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))
