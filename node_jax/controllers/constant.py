"""Steps of one size."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.controllers.base import (
    AbstractController,
    Decision,
    accept_what_is_finite,
    direction_of,
    require_positive,
    require_scalar,
)
from node_jax.types import State, Time


class ConstantStep(AbstractController):
    """Steps of size `dt`; the last is clipped to the end of the solve, outputs between steps are interpolated.

    Step n ends at t0 + n dt, computed afresh, so that rounding does not add up over many steps.

    Arguments:
        dt: step size, positive, in units of time; its sign follows the direction of the solve.
    """

    dt: float | Float[Array, ""]

    @property
    def is_adaptive(self) -> bool:
        """False: it never looks at an error."""
        return False

    @property
    def num_evals_first_step(self) -> int:
        """None."""
        return 0

    def validate(self) -> None:
        """`dt` must be positive."""
        require_positive("ConstantStep", "dt", self.dt, "the solver sets the sign from the order of ts")
        require_scalar("ConstantStep", "dt", self.dt)

    def first_step(
        self, field: Callable[[Time, State], State], ts: Float[Array, " time"], y0: State, f0: State, order: int
    ) -> tuple[Time, tuple[Array, ...]]:
        """`dt` in the direction of the solve; the memory holds t0, the signed dt and the number of steps done."""
        del field, y0, f0, order
        dt = direction_of(ts) * jnp.asarray(self.dt, ts.dtype)
        return dt, (ts[0], dt, jnp.zeros((), ts.dtype))

    def decide(
        self,
        memory: tuple[Array, ...],
        ts: Float[Array, " time"],
        t1: Time,
        dt: Time,
        y0: State,
        y1: State,
        error: State | None,
        order: int,
    ) -> Decision:
        """Accept whatever is finite."""
        del ts, dt, y0, error, order
        start, signed_dt, count = memory
        # A step that was cut short at a stop ends before the point of the grid that it was meant to reach.
        is_on_grid = abs(start + (count + 1) * signed_dt - t1) <= 1e-3 * abs(signed_dt)
        count = count + is_on_grid
        next_t1 = start + (count + 1) * signed_dt
        return accept_what_is_finite(y1, next_t1 - t1, (start, signed_dt, count))
