"""How a time loop is differentiated."""

from node_jax.adjoints.backsolve import BacksolveAdjoint
from node_jax.adjoints.base import AbstractAdjoint
from node_jax.adjoints.checkpointed import CheckpointedAdjoint
from node_jax.adjoints.direct import DirectAdjoint, ForwardMode
from node_jax.adjoints.gauss import GaussAdjoint
from node_jax.adjoints.reversible import ReversibleAdjoint

__all__ = [
    "AbstractAdjoint",
    "BacksolveAdjoint",
    "CheckpointedAdjoint",
    "DirectAdjoint",
    "ForwardMode",
    "GaussAdjoint",
    "ReversibleAdjoint",
]
