"""What training keeps small beside its loss."""

from dataclasses import dataclass

from node_jax.config.checks import is_positive, require_at_least
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class Regularize:
    """Weights of regularizers, 0 leaves one out; and a budget of evaluations that they are held to."""

    kinetic: float = 0.0
    """Of the kinetic energy, the integral of the mean square of dy/dt (Finlay et al. 2020), >= 0."""
    jacobian: float = 0.0
    """Of the integral of the squared Frobenius norm of the field's Jacobian, with one random probe (the same), >= 0."""
    derivative: float = 0.0
    """Of the integral of the mean square of a total derivative of the solution (Kelly et al. 2020), >= 0."""
    derivative_order: int = 2
    """Which derivative, at least 1."""
    residual: float = 0.0
    """Of the integral of the mean square of what a hybrid field's network adds (Yin et al. 2021), >= 0."""
    residual_is_relative: bool = False
    """Whether the square of what is added is divided by that of the state."""
    error: float = 0.0
    """Of the sum of local error estimates over the steps (Pal et al. 2021), >= 0."""
    stiffness: float = 0.0
    """Of the sum of stiffness estimates over the steps (the same), >= 0."""
    end_time_width: float = 0.0
    """How far the last time of a solve moves at random (Ghosh et al. 2020), in units of task.time_scale, >= 0."""
    constraint_rate: float | None = None
    """How fast the weights of the costs of solves fall, by the error of the fit: they are divided by a multiplier that
    starts at 1 and grows by constraint_rate times the error in each step, > 0 (Yin et al. 2021: least residual under
    the constraint of an exact fit); None leaves them alone."""
    l1: float = 0.0
    """Of the sum of absolute values of weight matrices, >= 0."""
    l2: float = 0.0
    """Of the sum of squares of weight matrices, >= 0."""
    spectral: float = 0.0
    """Of the squared excess of singular values of weight matrices over spectral_bound, >= 0."""
    spectral_bound: float = 1.0
    """The largest singular value that is left alone, > 0."""
    nfe_budget: float | None = None
    """Field evaluations of a solve, on average, that training holds to by scaling the weights of the costs of solves
    (kinetic, jacobian, derivative, residual, error, stiffness), > 0; None leaves the weights alone."""
    budget_rate: float = 0.02
    """How fast the scale follows: its logarithm grows by budget_rate (evaluations / nfe_budget - 1) a step, > 0."""

    def __post_init__(self) -> None:
        for name in (*SOLVE_COSTS, "end_time_width", "l1", "l2", "spectral"):
            require_at_least(getattr(self, name), 0, f"regularize.{name}", "0 leaves it out.")
        require_at_least(self.derivative_order, 1, "regularize.derivative_order", "2 is usual.")
        bound = self.spectral_bound
        require(is_positive(bound), "regularize.spectral_bound", "a number > 0", bound, "1 is usual.")
        require(is_positive(self.budget_rate), "regularize.budget_rate", "> 0", self.budget_rate, "0.02 is usual.")
        if self.constraint_rate is not None:
            rate = self.constraint_rate
            require(is_positive(rate), "regularize.constraint_rate", "> 0 or None", rate, "1 is a start.")
            is_alone = self.nfe_budget is None
            cure = "One multiplier cannot follow both."
            require(is_alone, "regularize.nfe_budget", "None with a constraint_rate", self.nfe_budget, cure)
            has_cost = any(getattr(self, name) > 0 for name in SOLVE_COSTS)
            expected = f"a weight > 0 of one of {', '.join(SOLVE_COSTS)}"
            cure = "--regularize.residual 1 is usual with a hybrid field."
            require(has_cost, "regularize.constraint_rate", expected, "none", cure)
        if self.nfe_budget is not None:
            cure = "Count the evaluations of a run without a budget first."
            require(is_positive(self.nfe_budget), "regularize.nfe_budget", "> 0 or None", self.nfe_budget, cure)
            has_cost = any(getattr(self, name) > 0 for name in SOLVE_COSTS)
            expected = f"a weight > 0 of one of {', '.join(SOLVE_COSTS)}"
            cure = "A budget needs something to pull at: --regularize.kinetic 0.01 is a start."
            require(has_cost, "regularize.nfe_budget", expected, "none", cure)


SOLVE_COSTS = ("kinetic", "jacobian", "derivative", "residual", "error", "stiffness")
"""Regularizers that are costs of a solve."""
