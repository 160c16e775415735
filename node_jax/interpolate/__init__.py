"""Paths through data, as control inputs of a field, and the dense output of a Runge-Kutta step.

A path is built once from times and values, of which NaN are missing, and read at any time by `evaluate` and
`derivative`.
"""

from node_jax.interpolate.base import AbstractPath
from node_jax.interpolate.hermite import CubicHermite
from node_jax.interpolate.hold import ZeroOrderHold
from node_jax.interpolate.linear import Linear

__all__ = ["AbstractPath", "CubicHermite", "Linear", "ZeroOrderHold"]
