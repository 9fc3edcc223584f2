"""The constants of DyHPO, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..surrogate.policy import SurrogatePolicy


@dataclass(frozen=True)
class Policy:
    """The constants of DyHPO; `dataclasses.replace(Policy(), sobol_every=8)` varies one.

    A value comes from the paper that its field names, or was measured: set against one or two others in races on
    LCBench and TaskSet (examples/benchmarks/LOG.md). All others are hand-picked and were never varied. (random): has an
    effect with `horizon='random'` alone.
    """

    n_warmup: int = 9
    """Trials of the warm-up: as many as bring one to the last of three rungs. Measured: 13, and none to the last rung,
    are worse on real networks."""
    eta: int = 3
    """Reduction factor of the warm-up: one trial in eta is promoted (Li et al. 2020)."""
    sobol: bool = True
    """Whether Sobol points are used at all, or else random ones. Measured, beside Halton and Latin hypercubes."""
    sobol_every: int = 4
    """(random) Each so-many-th trial is the next Sobol point. Measured: 8 is worse on TaskSet; without such trials the
    mean is about the same, but single races are lost to a wrong model."""
    initial_epochs: int = 2
    """(random) Epochs that a new trial begins with after the warm-up. Measured: 1 is worse on TaskSet and LCBench, 3 no
    better."""
    short_race: int = 40
    """Where `max_epochs` is smaller, new trials begin with one epoch (random), and the surrogate is told which features
    are learning rates. Measured: 2 epochs, and not telling, are worse on tables of 27; telling is so where it is 50."""

    horizon_range: tuple[float, float] = (0.0, 1.0)
    """(random) The horizon is max_epochs^u, u uniform in this range (Rakotoarison et al. 2024). Measured:
    always the last epoch, (1, 1), is worse on LCBench."""
    margin_range: tuple[float, float] = (0.001, 1.0)
    """(random) Range of the margin, log-uniform, in standard deviations of targets (ibid.). Measured: from 0.01 is
    worse on LCBench, up to 0.3 no better on TaskSet."""
    min_ei: float = 1e-3
    """(random) While no expected improvement, of targets, exceeds it, a decision looks farther ahead."""
    horizon_factor: int = 4
    """(random) How many times as far. Measured: 2 is no better, and slower."""

    neighbor_fraction: float = 0.25
    """Share of new points that are neighbors of the best trials; the others are random."""
    neighbor_parents: int = 5
    """How many best trials have neighbors."""
    neighbor_stds: tuple[float, ...] = (0.1, 0.03)
    """Standard deviations of neighbors around these, in the unit cube; each for as many neighbors."""

    hidden_fraction: float = 0.3
    """Share of observations learned without their curve; others see a part. Measured: full curves are far worse."""
    thinning: float = 1.5
    """Ratio of consecutive epochs of a curve that are learned, besides the last one; 1 keeps all."""
    max_rows: int = 800
    """Observations at most, those of the best trials, that a fit is given. It bounds a decision's time."""
    fit_interval: float = 0.1
    """Tells from one fit to the next, as a share of all so far; in between, observations are appended."""
    max_tells_between_fits: int = 50
    """Their upper bound. Measured: fitting a third as often is no better."""

    cost_exponent: float = 1.0
    """EI is divided by this power of what it takes: epochs to the horizon, fewer where the end is near, times the
    predicted cost of an epoch where costs are told. Measured: 0 is worse on real networks."""

    failed_target: float = -4.0
    """Target of a failed trial's next epoch, and lower bound of the asinh warp."""
    max_asinh: float = 10.0
    """Upper bound of the asinh warp of values seen."""
    max_beyond: float = 3.0
    """How far a warp goes at most above that of the best value seen."""
    rank_weight: float = 0.5
    """Weight of ranks in targets; asinh has the rest. Measured: 1 is worse on TaskSet, 0 is no better."""
    forecast_scale: float = 0.87
    """Scale of forecasts, as a share of the predicted standard deviation. Measured: intervals hold what they should."""

    surrogate: SurrogatePolicy = field(default_factory=SurrogatePolicy)
    """The constants of the surrogate."""
