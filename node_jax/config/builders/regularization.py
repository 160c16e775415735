"""The regularization of a config."""

import jax.numpy as jnp

from node_jax.config.regularize import SOLVE_COSTS, Regularize
from node_jax.losses import JacobianNorm, KineticEnergy, Regularization, ResidualNorm, TotalDerivative


def build_regularization(config: Regularize) -> Regularization:
    """What is kept small, with its weights as arrays."""
    weights = {name: getattr(config, name) for name in (*SOLVE_COSTS, "l1", "l2", "spectral")}
    weights = {name: jnp.asarray(weight) for name, weight in weights.items() if weight > 0}
    costs = {
        "kinetic": KineticEnergy(),
        "jacobian": JacobianNorm(),
        "derivative": TotalDerivative(config.derivative_order),
        "residual": ResidualNorm(config.residual_is_relative),
    }
    return Regularization(
        {name: cost for name, cost in costs.items() if name in weights},
        tuple(name for name in ("error", "stiffness") if name in weights),
        weights,
        config.spectral_bound,
        config.end_time_width,
    )
