r"""Changes of the state at times at which a step ends.

Where the time τ of a jump depends on the state or on parameters, while the step that ends there is a constant of the
gradient, the state after it depends on τ as well. For a step that ends at t = τ, with δ = τ - t, that is

    y⁺ = φ(-δ, t + δ, J(t + δ, φ(δ, t, y⁻))),        φ(δ, t, y) the solution at t + δ from y at t:

the state moves to τ, jumps, and moves back to t as it goes on behind the jump. The value of δ is zero, its derivatives
are not; the derivative of y⁺ is the saltation matrix. For an event with the condition g, δ is what Newton's method
finds for its root, -g / (dg/dt) in first order. φ and δ are exact to the second derivative.

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
                after = function(t + shift, follow(field, t, y, shift))
                return follow(field, t + shift, after, -shift)

            y = lax.cond(jnp.any(is_due), act, lambda y: y, y)
        return y


def time_shift(condition: Callable[[Time, State], Array], field: BoundField, t: Time, y: State) -> Time:
    """How far from t the root of a condition along the solution is: zero, with the derivatives of the root.

    Two steps of Newton's method, of which each gives one order of the derivative. Constant where the condition does not
    move.
    """
    rate = jax.jvp(condition, (t, y), (jnp.ones_like(t), lax.stop_gradient(field(t, y))))[1]
    rate = lax.stop_gradient(rate)
    is_moving = (rate != 0) & jnp.isfinite(rate)

    def newton(shift: Time, y: State) -> Time:
        value = condition(t + shift, y)
        correction = (value - lax.stop_gradient(value)) / jnp.where(is_moving, rate, 1)
        return shift - jnp.where(is_moving, correction, 0).astype(t.dtype)

    shift = newton(jnp.zeros_like(t), y)
    return newton(shift, follow(field, t, y, shift))


def follow(field: BoundField, t: Time, y: State, shift: Time) -> State:
    """The solution at t + shift from y at t, exact to the second derivative: a step of the explicit midpoint rule.

    Unlike a series in dy/dt and its derivative it takes the field as it is, with a `jax.custom_vjp` in it or not.
    """
    halfway = tree_axpy(shift / 2, field(t, y), y)
    return tree_axpy(shift, field(t + shift / 2, halfway), y)
