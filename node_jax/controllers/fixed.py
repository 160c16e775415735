"""A number of equal steps between requested times."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from node_jax.controllers.base import (
    AbstractController,
    Decision,
    accept_what_is_finite,
    direction_of,
)
from node_jax.errors import require_count
from node_jax.types import State, Time


class FixedSteps(AbstractController):
    """`n` equal steps in each interval of `ts`, so that every requested time is the end of a step.

    The cost is known in advance: n steps for each interval that is not empty; repeated times cost nothing. Memory is
    taken for n (len(ts) - 1) steps, which must not exceed `max_steps`. Where a knot of a zero-order hold lies inside a
    step, that is cut in two there.

    Arguments:
        n: steps an interval, at least 1.
    """

    n: int = eqx.field(static=True)

    @property
    def is_adaptive(self) -> bool:
        """False: it never looks at an error."""
        return False

    @property
    def num_evals_first_step(self) -> int:
        """None."""
        return 0

    def validate(self) -> None:
        """`n` must be a positive integer."""
        require_count("FixedSteps", "n", self.n)

    def num_steps(self, num_times: int) -> int:
        """n for each interval."""
        return max(1, int(self.n) * (num_times - 1))

    def stops(self, ts: Float[Array, " time"]) -> Float[Array, " time"]:
        """Every requested time."""
        return ts

    def first_step(
        self, field: Callable[[Time, State], State], ts: Float[Array, " time"], y0: State, f0: State, order: int
    ) -> tuple[Time, tuple[Int[Array, ""], Time]]:
        """The first step; the memory is the number of steps done in the present interval, and where the next ends."""
        del field, y0, f0, order
        done = jnp.zeros((), jnp.int32)
        dt = self._to_target(ts, ts[0], done)
        return dt, (done, ts[0] + dt)

    def decide(
        self,
        memory: tuple[Int[Array, ""], Time],
        ts: Float[Array, " time"],
        t1: Time,
        dt: Time,
        y0: State,
        y1: State,
        error: State | None,
        order: int,
    ) -> Decision:
        """Accept whatever is finite."""
        del y0, error, order
        done, target = memory
        is_cut = abs(target - t1) > 1e-3 * abs(dt)
        done = jnp.where(jnp.any(ts == t1), 0, jnp.where(is_cut, done, done + 1)).astype(jnp.int32)
        next_dt = self._to_target(ts, t1, done)
        memory = (done, t1 + next_dt)
        return accept_what_is_finite(y1, next_dt, memory)

    def _to_target(self, ts: Float[Array, " time"], t: Time, done: Int[Array, ""]) -> Time:
        """From `t`, after `done` steps of its interval, to the end of the next, computed afresh from the interval."""
        direction = direction_of(ts)
        after = jnp.minimum(jnp.sum(ts * direction <= t * direction), ts.shape[0] - 1)
        start, end = ts[jnp.maximum(after - 1, 0)], ts[after]
        target = jnp.where(done + 1 >= self.n, end, start + (done + 1) * ((end - start) / self.n))
        return (target - t).astype(ts.dtype)
