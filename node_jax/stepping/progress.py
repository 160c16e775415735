"""Where a solve stands, and where an attempt would take it."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int, PyTree

from node_jax.stepping.watch import Events
from node_jax.types import State, Time

RUNNING = -1
"""The status of a solve that has not ended."""


class Progress(NamedTuple):
    """Where a solve stands."""

    t: Time
    dt: Time
    """Signed size of the next attempt."""
    z: State
    """The solver's internal state at t."""
    f: State | None
    """Its slope there, if the next step takes it from the one before."""
    memory: PyTree
    """The controller's."""
    costs: dict[str, Float[Array, ""]]
    num_attempts: Int[Array, ""]
    num_accepted: Int[Array, ""]
    num_dense: Int[Array, ""] | None
    """Attempts that evaluated the stages of dense output, where not all do."""
    status: Int[Array, ""]
    """How the solve has ended, or `RUNNING`."""
    has_jumped: Bool[Array, ""] | None
    """Whether the jumps at t are done, if the problem has jumps."""
    events: Events | None
    """What is known of events, if the problem watches any."""

    @property
    def is_running(self) -> Bool[Array, ""]:
        """Whether the solve has not ended."""
        return self.status == RUNNING


class End(NamedTuple):
    """Where an attempt ends, if it is accepted."""

    accept: Bool[Array, ""]
    t: Time
    z: State
    f: State | None
    dt: Time
    """Of the next attempt."""
    memory: PyTree
    events: Events | None
