"""The constants of DyHPO, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..surrogate.policy import SurrogatePolicy


@dataclass(frozen=True)
class Policy:
    """What DyHPO decides by. `dataclasses.replace(Policy(), sobol_every=8)` is another one, for a benchmark or a test.

    A value comes from the paper that its field names, or was measured, mostly against one or two others, in races on
    LCBench and TaskSet (examples/benchmarks/README.md has the tables); the others are hand-picked and never varied.
    Those that act with `horizon='random'` alone are marked (random).
    """

    n_warmup: int = 13
    """Trials of the warm-up; more, if more were started before the first result. Measured: without a warm-up, mean
    regret on LCBench is 0.080, not 0.056."""
    eta: int = 3
    """Reduction factor of the warm-up: one trial in eta is promoted (Li et al. 2020)."""
    sobol: bool = True
    """Whether the warm-up's configurations, and those of `sobol_every`, are points of a scrambled Sobol sequence; else
    they are random ones. Measured, beside Halton's sequence and Latin hypercubes."""
    sobol_every: int = 4
    """(random) Each so-many-th trial is started at the next Sobol point, whatever the model says. Measured: in the mean
    there is little in it; it saves the races that are lost to a wrong model. 8 is worse on TaskSet."""
    initial_epochs: int = 2
    """(random) Epochs that a new trial first trains for after the warm-up, unless the race is short: the first value
    alone is often uninformative. Measured: 1 and 3 are worse on TaskSet."""
    short_race: int = 20
    """(random) Races of fewer `max_epochs` have `initial_epochs` 1. Hand-picked."""

    horizon_range: tuple[float, float] = (0.0, 1.0)
    """(random) Range of u; the horizon is max_epochs^u epochs, u uniform (Rakotoarison et al. 2024, Section 4.2).
    Measured against always the last epoch, (1, 1)."""
    margin_range: tuple[float, float] = (0.001, 1.0)
    """(random) Range of the margin, log-uniform, in targets, whose standard deviation is about 1 (ibid.). Measured:
    from 0.01 is worse on LCBench, up to 0.3 no better on TaskSet."""
    min_ei: float = 1e-3
    """(random) A decision whose largest expected improvement, in targets, does not exceed it looks farther ahead."""
    horizon_factor: int = 4
    """(random) How many times as far. Measured: 2 is no better, and slower."""

    neighbor_fraction: float = 0.25
    """Share of new candidates that are neighbors of the best trials; the others are random. Hand-picked."""
    neighbor_parents: int = 5
    """Best trials that have neighbors. Hand-picked."""
    neighbor_stds: tuple[float, ...] = (0.1, 0.03)
    """Standard deviations of neighbors' coordinates, an equal share of the neighbors each. Hand-picked."""

    hidden_fraction: float = 0.3
    """Share of observations that are learned without the curve before them, so that unseen configurations are predicted
    well. Measured with it and without."""
    thinning: float = 1.5
    """Ratio of consecutive epochs of a curve that are learned, besides the last one; 1 keeps all. Hand-picked."""
    max_rows: int = 800
    """Observations that the surrogate is conditioned on, those of the best trials; it bounds a decision's time."""
    fit_interval: float = 0.1
    """Tells until the next fit, as a share of those so far; in between, observations are appended."""
    max_tells_between_fits: int = 50
    """Upper bound of that. Measured: fewer fits, a third, are no better for decisions."""

    failed_target: float = -4.0
    """Target of the epoch at which a trial failed, and lower bound of asinh targets. Hand-picked."""
    max_asinh: float = 10.0
    """Upper bound of asinh targets of values seen. Hand-picked."""
    max_beyond: float = 3.0
    """How far targets go at most above that of the best value seen. Hand-picked."""
    rank_weight: float = 0.5
    """Weight of normal scores in the targets; asinh has the rest. Measured: ranks alone are worse on TaskSet, asinh
    alone is no better."""
    forecast_scale: float = 0.87
    """Scale of forecasts (Student's t), as a share of the predicted standard deviation. Measured: intervals then hold
    what they should."""
    surrogate: SurrogatePolicy = field(default_factory=SurrogatePolicy)
    """Constants of the surrogate."""
