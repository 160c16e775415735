"""Pure functions of arrays."""

from node_jax.losses.regression import masked_mean_squared_error

__all__ = ["masked_mean_squared_error"]
