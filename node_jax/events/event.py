"""What a user says of events and jumps."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from node_jax.errors import require_callable, require_count
from node_jax.types import Args, State


class Event(eqx.Module):
    r"""Something happens where a condition crosses zero.

    The root of g(τ) = condition(τ, y(τ), args) is found on the dense output of the step in which g changes sign, a step
    is made to end there, and the event fires: it ends the solve, changes the state, or is only recorded. Time and state
    of an event are differentiable, by the implicit function theorem: dτ = -dg / (∂g/∂t + ∂g/∂y · f).

    A condition that is zero at the start, or just after a jump, does not fire at once: it counts as having the sign
    that it is about to take. Of several conditions the earliest fires, of equal ones the first in the list. Signs are
    compared four times a step; crossings there and back between two of these places are not seen, so bound the step
    size (`dtmax`) where that may happen.

    Arguments:
        condition: `condition(t, y, args)`, a continuous scalar.
        direction: +1 fires where it rises through zero, -1 where it falls, 0 at both.
        terminate: whether the solve ends when the event has fired `max_events` times.
        jump: `jump(t, y, args) -> y`, the state just after the event; `None` leaves it as it is.
        max_events: how often the event is recorded. A jump that is due once more, without `terminate`, ends the solve
            with status `max_events`.

    Reference: Chen, Amos & Nickel (2021), Learning Neural Event Functions for ODEs, arXiv:2011.03902.
    """

    condition: Callable[[Any, State, Args], Any]
    direction: int = eqx.field(static=True, default=0)
    terminate: bool = eqx.field(static=True, default=True)
    jump: Callable[[Any, State, Args], State] | None = None
    max_events: int = eqx.field(static=True, default=1)

    def validate(self) -> None:
        """Raise `TypeError` or `ValueError` for settings that cannot work."""
        require_callable("an Event's condition", "condition", self.condition)
        if not isinstance(self.direction, (int, np.integer)) or self.direction not in (-1, 0, 1):
            raise ValueError(
                f"odeint: expected an Event's direction to be 1 (rising), -1 (falling) or 0, got {self.direction!r}."
            )
        if self.jump is not None:
            require_callable("an Event's jump", "jump", self.jump)
        if not isinstance(self.terminate, (bool, np.bool_)):
            raise TypeError(f"odeint: expected an Event's terminate to be True or False, got {self.terminate!r}.")
        require_count("odeint", "an Event's max_events", self.max_events)


class Jump(eqx.Module):
    """The state changes at known times: a dose, a kick, a switch.

    A step ends at each time, and a value asked for at just that time is the one before the jump. A jump at the first
    time acts on y0, one at or beyond the last does not act. Gradients flow to the times.

    Arguments:
        times: the times, of shape (jump,), in any order; in `nj.odeint_batch` also (batch, jump), a row a trajectory.
            Pad with infinity where there are fewer.
        jump: `jump(t, y, args) -> y`, the state just after.
    """

    times: Any
    jump: Callable[[Any, State, Args], State]

    def with_arrays(self, dtype: Any) -> "Jump":
        """The same with its times as an array."""
        try:
            times = jnp.asarray(self.times, dtype)
        except (TypeError, ValueError) as error:
            raise ValueError("odeint: expected a Jump's times to be numbers, with rows of one length.") from error
        return Jump(times, self.jump)

    def validate(self) -> None:
        """Raise `TypeError` or `ValueError` for settings that cannot work; the times must be an array."""
        require_callable("a Jump's jump", "jump", self.jump)
        if self.times.ndim not in (1, 2):
            raise ValueError(
                "odeint: expected a Jump's times of shape (jump,), or (batch, jump) in nj.odeint_batch, got shape "
                f"{self.times.shape}."
            )
        if not isinstance(self.times, Tracer) and np.isnan(np.asarray(self.times)).any():
            raise ValueError("odeint: expected a Jump's times without NaN. Pad with infinity where there are fewer.")
