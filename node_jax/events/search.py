"""Finds the first crossing of zero within a step."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.types import State, Time

_NUM_PLACES = 4
"""Places in a step at which signs are compared."""
_AHEAD = 1e-3
"""The sign after a jump is the one that a condition takes on the way through this part of the last step."""
_MOST_HALVINGS = 60


class Crossing(NamedTuple):
    """The first crossing in a step."""

    is_found: Bool[Array, ""]
    t: Time
    event: Int[Array, ""]
    """Which condition; of equal roots the first."""
    sign: Float[Array, ""]
    """That of the condition before."""


class Conditions(eqx.Module):
    """The conditions of all events, whose signs are watched along a solve."""

    functions: tuple[Callable[[Time, State], Array], ...]
    """g_i(t, y)."""
    directions: tuple[int, ...] = eqx.field(static=True)

    def at(self, t: Time, y: State) -> Float[Array, " event"]:
        """Every g_i, in the dtype of the time."""
        return jnp.stack([g(t, y).astype(t.dtype) for g in self.functions])

    def signs_ahead(self, t: Time, y: State, slope: State, dt: Time) -> Float[Array, " event"]:
        """The signs that the conditions are about to have at (t, y), on the way along `slope` for a small part of dt.

        A condition that is exactly zero has the sign of its rate.
        """
        values, rates = jax.jvp(self.at, (t, y), (jnp.ones_like(t), slope))
        signs = jnp.sign(values + rates * _AHEAD * dt)
        return jnp.where(jnp.isfinite(signs), signs, 0)

    def first_crossing(
        self,
        state_at: Callable[[Time], State],
        t0: Time,
        t1: Time,
        signs: Float[Array, " event"],
        is_watched: Bool[Array, " event"],
    ) -> tuple[Crossing, Float[Array, " event"]]:
        """The first crossing between t0 and t1, and the signs at t1.

        Arguments:
            state_at: the dense output of the step.
            t0, t1: its ends.
            signs: those at t0.
            is_watched: which conditions may cross.
        """

        def values_at(t: Time) -> Array:
            return self.at(t, state_at(t))

        places = [t0 + (t1 - t0) * (i / _NUM_PLACES) for i in range(1, _NUM_PLACES)]
        places = jnp.stack([t0, *places, t1])
        values = jax.vmap(values_at)(places[1:])
        found, sign = jnp.full(signs.shape, _NUM_PLACES, jnp.int32), signs
        for i in reversed(range(_NUM_PLACES)):
            before = signs if i == 0 else jnp.where(values[i - 1] == 0, signs, jnp.sign(values[i - 1]))
            crosses = (before * jnp.sign(values[i]) < 0) | ((values[i] == 0) & (before != 0))
            crosses &= is_watched & self._is_wanted(before)
            found, sign = jnp.where(crosses, i, found), jnp.where(crosses, before, sign)
        interval = jnp.min(found)
        is_found = interval < _NUM_PLACES
        low, high = places[jnp.minimum(interval, _NUM_PLACES - 1)], places[jnp.minimum(interval + 1, _NUM_PLACES)]
        roots = self._roots(values_at, low, high, is_found)
        roots = jnp.where(found == interval, (roots - t0) * jnp.sign(t1 - t0), jnp.inf)
        event = jnp.argmin(roots).astype(jnp.int32)
        root = t0 + roots[event] * jnp.sign(t1 - t0)
        ends = jnp.sign(values[-1])
        crossing = Crossing(is_found, jnp.where(is_found, root, t1), event, sign[event])
        return crossing, jnp.where(ends == 0, signs, ends)

    def signs_behind(self, t: Time, y: State, signs: Float[Array, " event"]) -> Float[Array, " event"]:
        """The signs at (t, y), where a step was cut short because one condition crossed zero.

        Another that is about to fire, at the same time or by rounding just before, keeps its sign of before.

        Arguments:
            t, y: the end of the step.
            signs: those at its start.
        """
        ends = jnp.sign(self.at(t, y))
        is_to_fire = (signs * ends < 0) & self._is_wanted(signs)
        return jnp.where((ends == 0) | is_to_fire, signs, ends)

    def _is_wanted(self, before: Float[Array, " event"]) -> Bool[Array, " event"]:
        """Whether a crossing that starts with these signs has the direction that was asked for."""
        wanted = jnp.asarray([float(d) for d in self.directions], before.dtype)
        return (wanted == 0) | (before * wanted < 0)

    def _roots(
        self, values_at: Callable[[Time], Array], low: Time, high: Time, is_wanted: Bool[Array, ""]
    ) -> Float[Array, " event"]:
        """A root of each condition that changes sign between two times, by bisection down to neighbouring numbers."""
        sign_high = jnp.sign(values_at(high))
        start = jnp.broadcast_to(low, sign_high.shape), jnp.broadcast_to(high, sign_high.shape)

        def goes_on(state: tuple[Array, Array, Array]) -> Array:
            i, low, high = state
            middle = low + (high - low) / 2
            return is_wanted & (i < _MOST_HALVINGS) & jnp.any((middle != low) & (middle != high))

        def halve(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            i, low, high = state
            middle = low + (high - low) / 2
            values = jnp.diagonal(jax.vmap(values_at)(middle))
            is_beyond = (jnp.sign(values) == sign_high) | (values == 0)
            return i + 1, jnp.where(is_beyond, low, middle), jnp.where(is_beyond, middle, high)

        return lax.while_loop(goes_on, halve, (jnp.zeros((), jnp.int32), *start))[2]
