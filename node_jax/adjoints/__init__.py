"""How a time loop is differentiated."""

from node_jax.adjoints.base import AbstractAdjoint
from node_jax.adjoints.checkpointed import CheckpointedAdjoint

__all__ = ["AbstractAdjoint", "CheckpointedAdjoint"]
