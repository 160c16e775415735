"""What a time loop takes and gives."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from node_jax.controllers import AbstractController
from node_jax.solution import Stats
from node_jax.solvers import AbstractSolver
from node_jax.types import State, Time


class Problem(eqx.Module):
    """An initial value problem, checked and ready for a loop: every number in it is an array leaf."""

    field: Callable[[Time, State], State]
    """dy/dt = field(t, y): a pytree whose array leaves are all that the field reads, arguments and closures too."""
    y0: State
    ts: Float[Array, " time"]
    solver: AbstractSolver
    controller: AbstractController
    max_steps: int = eqx.field(static=True)
    """Bound on attempted steps, accepted or not."""

    @property
    def direction(self) -> Time:
        """+1 forward in time, -1 backward."""
        return jnp.where(self.ts[-1] < self.ts[0], -1, 1).astype(self.ts.dtype)

    def times_are_valid(self) -> Bool[Array, ""]:
        """Whether `ts` is finite and sorted in either direction."""
        steps = (self.ts[1:] - self.ts[:-1]) * self.direction
        return jnp.all(jnp.isfinite(self.ts)) & jnp.all(steps >= 0)


class LoopResult(eqx.Module):
    """The outcome of a loop."""

    ys: State
    """Values at the times, NaN where the loop did not come."""
    status: Int[Array, ""]
    stats: Stats
    num_saved: Int[Array, ""]
    """How many rows of `ys` hold values."""
