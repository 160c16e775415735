"""What a jump and an event's time depend on: first and second derivatives against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from node_jax.events import Jumps
from node_jax.events.jumps import follow, time_shift

T, BEFORE = 0.7, 1.3
"""Where a step ended, and the state there."""


def field(t, y):
    return jnp.cos(t) * y


def flow(y, t0, t1):
    return y * jnp.exp(jnp.sin(t1) - jnp.sin(t0))


def kick(t, y):
    return 0.5 * y**2 + t


def known(y, time):
    return Jumps((kick,), (None,), (time[None],)).apply(field, jnp.asarray(T), y)


def exact_known(y, time):
    return flow(kick(time, flow(y, T, time)), time, T)


def root(y, level):
    """When the solution through (T, y) is at `level`."""
    return jnp.arcsin(jnp.sin(T) + jnp.log(level / y))


def at_event(y, level):
    return Jumps((kick,), (lambda t, y: y - level,), (jnp.array([T]),)).apply(field, jnp.asarray(T), y)


def event_time(y, level):
    return T + time_shift(lambda t, y: y - level, field, jnp.asarray(T), y)


def event_state(y, level):
    shift = time_shift(lambda t, y: y - level, field, jnp.asarray(T), y)
    return jnp.sin(follow(field, jnp.asarray(T), y, shift))


CASES = {
    "known time": (known, exact_known, T),
    "jump of an event": (at_event, lambda y, level: exact_known(y, root(y, level)), BEFORE),
    "time of an event": (event_time, root, BEFORE),
    "state at an event": (event_state, lambda y, level: jnp.sin(level), BEFORE),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_of_the_closed_form(x64, name):
    found, expected, second = CASES[name]
    inputs = (jnp.asarray(BEFORE), jnp.asarray(second))
    for derivative in (lambda f: f, lambda f: jax.grad(f, (0, 1)), lambda f: jax.hessian(f, (0, 1))):
        mine, theirs = (jax.tree.leaves(jax.jit(derivative(f))(*inputs)) for f in (found, expected))
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_condition_that_does_not_move_has_no_derivative(x64):
    def time(y):
        return time_shift(lambda t, y: (y - BEFORE) ** 2, field, jnp.asarray(T), y)

    assert float(jax.grad(time)(jnp.asarray(BEFORE))) == 0.0


def test_jumps_at_one_time_act_in_their_order_and_a_time_given_twice_acts_once(x64):
    times = jnp.array([T, T, 2.0])
    jumps = Jumps((lambda t, y: y + 1.0, lambda t, y: 2.0 * y), (None, None), (times, jnp.array([T])))
    assert float(jumps.apply(field, jnp.asarray(T), jnp.asarray(1.0))) == 4.0
    np.testing.assert_array_equal(jumps.all_times(jnp.asarray(-1.0)), [2.0, T, T, T])
    moved = jax.grad(lambda times: Jumps((kick,), (None,), (times,)).apply(field, jnp.asarray(T), jnp.asarray(1.0)))
    np.testing.assert_allclose(moved(times), [jax.grad(known, 1)(jnp.asarray(1.0), jnp.asarray(T)), 0.0, 0.0])
