"""Roots of conditions on the dense output, and changes of the state."""

from node_jax.events.event import Event, Jump
from node_jax.events.jumps import Jumps
from node_jax.events.search import Conditions, Crossing

__all__ = ["Conditions", "Crossing", "Event", "Jump", "Jumps"]
