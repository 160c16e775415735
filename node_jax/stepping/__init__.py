"""The time loops. They know solvers and controllers, and no gradient rule."""

from node_jax.stepping.attempt import take_step
from node_jax.stepping.batch import Batch
from node_jax.stepping.lane_tape import LaneTape
from node_jax.stepping.lanes import integrate_lanes
from node_jax.stepping.problem import LoopResult, Problem
from node_jax.stepping.single import integrate_single
from node_jax.stepping.tape import Tape

__all__ = [
    "Batch",
    "LaneTape",
    "LoopResult",
    "Problem",
    "Tape",
    "integrate_lanes",
    "integrate_single",
    "take_step",
]
