"""Losses and regularizers: pure functions of arrays and parameters, and solves with costs beside the state."""

from node_jax.losses.classification import cross_entropy, huber_on_signs
from node_jax.losses.gradient_matching import gradient_matching_loss
from node_jax.losses.integral_costs import (
    AbstractIntegralCost,
    JacobianNorm,
    KineticEnergy,
    ResidualNorm,
    TotalDerivative,
)
from node_jax.losses.laplace import (
    AbstractConditional,
    Marginal,
    Posterior,
    find_posterior,
    laplace_marginal,
    laplace_value,
)
from node_jax.losses.parameters import l1_norm, l2_norm_squared, spectral_excess, spectral_norms
from node_jax.losses.regression import masked_mean, masked_mean_squared_error
from node_jax.losses.regularization import Regularization
from node_jax.losses.residual_error import ResidualError
from node_jax.losses.shooting import horizon_times, multiple_shooting_loss, segment_rows
from node_jax.losses.steer import steer_times
from node_jax.losses.with_costs import solve_batch_with_costs, solve_with_costs

__all__ = [
    "AbstractConditional",
    "AbstractIntegralCost",
    "JacobianNorm",
    "KineticEnergy",
    "Marginal",
    "Posterior",
    "Regularization",
    "ResidualError",
    "ResidualNorm",
    "TotalDerivative",
    "cross_entropy",
    "find_posterior",
    "gradient_matching_loss",
    "horizon_times",
    "huber_on_signs",
    "l1_norm",
    "l2_norm_squared",
    "laplace_marginal",
    "laplace_value",
    "masked_mean",
    "masked_mean_squared_error",
    "multiple_shooting_loss",
    "segment_rows",
    "solve_batch_with_costs",
    "solve_with_costs",
    "spectral_excess",
    "spectral_norms",
    "steer_times",
]
