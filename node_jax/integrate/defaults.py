"""What a solve uses unless told otherwise."""

from node_jax.adjoints import CheckpointedAdjoint
from node_jax.controllers import PIController
from node_jax.solvers import Tsit5

DEFAULT_SOLVER = Tsit5()
DEFAULT_CONTROLLER = PIController()
DEFAULT_ADJOINT = CheckpointedAdjoint()
DEFAULT_MAX_STEPS = 4096
