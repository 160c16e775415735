r"""Changes of the state at times at which a step ends.

Where the time τ of a jump depends on the state or on parameters, while the step that ends there is a constant of the
gradient, the state after it depends on τ as well. For a step that ends at t = τ, with δ = τ - t, that is

    y⁺ = J(t + δ, y⁻ + δ f(t, y⁻)) - δ f(t, y⁺):

the state moves to τ, jumps, and moves back to t with the slope behind the jump. The value of δ is zero, its derivative
is not; the derivative of y⁺ is the saltation matrix. For an event with the condition g it is δ = -g / (dg/dt), one step
of Newton's method.

Reference: Aizerman & Gantmakher (1958), doi:10.1093/qjmam/11.4.382.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from node_jax.tree import tree_axpy
from node_jax.types import BoundField, State, Time


class Jumps(eqx.Module):
    """What happens to the state, and when. Jumps at equal times act one after the other."""

    functions: tuple[Callable[[Time, State], State], ...]
    """The state just after, from that just before."""
    conditions: tuple[Callable[[Time, State], Array] | None, ...]
    """What is zero at the times; `None` where the times are known by themselves."""
    times: tuple[Float[Array, " jump"], ...]
    """When each function acts; infinite where it does not."""

    def all_times(self, direction: Time) -> Float[Array, " jump"]:
        """All times, in the order of a solve."""
        return lax.stop_gradient(jnp.sort(jnp.concatenate(self.times) * direction) * direction)

    def is_due(self, t: Time) -> Bool[Array, ""]:
        """Whether a jump happens at t."""
        return jnp.any(jnp.concatenate([times == t for times in self.times]))

    def apply(self, field: BoundField, t: Time, y: State) -> State:
        """The state just after t; see the formula above."""
        for function, condition, times in zip(self.functions, self.conditions, self.times, strict=True):
            is_due = times == t

            def act(y: State, function=function, condition=condition, times=times, is_due=is_due) -> State:
                if condition is None:
                    shift = jnp.where(is_due, times - t, 0)[jnp.argmax(is_due)]
                else:
                    shift = time_shift(condition, field, t, y)
                shift = shift - lax.stop_gradient(shift)
                moved = function(t + shift, tree_axpy(shift, field(t, y), y))
                return tree_axpy(-shift, field(t, moved), moved)

            y = lax.cond(jnp.any(is_due), act, lambda y: y, y)
        return y


def time_shift(condition: Callable[[Time, State], Array], field: BoundField, t: Time, y: State) -> Time:
    """One step of Newton's method from t to the root of a condition along the solution: -g / (dg/dt).

    Zero where the condition does not move. The rate is a constant of the derivative.
    """
    slope = field(t, y)
    value, rate = jax.jvp(condition, (t, y), (jnp.ones_like(t), lax.stop_gradient(slope)))
    rate = lax.stop_gradient(rate)
    is_moving = (rate != 0) & jnp.isfinite(rate)
    return jnp.where(is_moving, -value / jnp.where(is_moving, rate, 1), 0).astype(t.dtype)
