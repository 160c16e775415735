"""Pure functions of arrays."""

from node_jax.losses.gradient_matching import gradient_matching_loss
from node_jax.losses.regression import masked_mean_squared_error
from node_jax.losses.shooting import horizon_times, multiple_shooting_loss, segment_rows

__all__ = [
    "gradient_matching_loss",
    "horizon_times",
    "masked_mean_squared_error",
    "multiple_shooting_loss",
    "segment_rows",
]
