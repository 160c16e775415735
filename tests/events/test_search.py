"""The first crossing within a step, on paths that are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from node_jax.events import Conditions

CASES = {
    "one root": ([lambda t, y: t - 0.3], [0], [-1], (0.3, 0)),
    "none": ([lambda t, y: t + 0.3], [0], [1], None),
    "the earliest": ([lambda t, y: t - 0.6, lambda t, y: 0.55 - t], [0, 0], [-1, 1], (0.55, 1)),
    "of equal ones the first": ([lambda t, y: t - 0.6, lambda t, y: t - 0.6], [0, 0], [-1, -1], (0.6, 0)),
    "the falling of two": ([lambda t, y: (t - 0.2) * (t - 0.7)], [-1], [1], (0.2, 0)),
    "the rising of two": ([lambda t, y: (t - 0.2) * (t - 0.7)], [1], [1], (0.7, 0)),
    "there and back between two places": ([lambda t, y: (t - 0.55) * (t - 0.7)], [0], [1], None),
    "at the end": ([lambda t, y: y - 1.0], [0], [-1], (1.0, 0)),
    "at a place": ([lambda t, y: y - 0.5], [0], [-1], (0.5, 0)),
    "zero at the start": ([lambda t, y: y], [0], [1], None),
    "zero at the start and again": ([lambda t, y: t * (t - 0.9)], [0], [-1], (0.9, 0)),
    "behind the start by rounding": ([lambda t, y: t + 1e-12], [1], [-1], (0.0, 0)),
    "not watched": ([lambda t, y: t - 0.3, lambda t, y: t - 0.6], [0, 0], [0, -1], (0.6, 1)),
    "NaN": ([lambda t, y: jnp.where(t > 0.3, jnp.nan, 1.0)], [0], [1], None),
}
"""Conditions, directions, signs at the start (0: not watched), time and index of the first crossing."""


@pytest.mark.parametrize("direction", [1, -1], ids=["forward", "backward"])
@pytest.mark.parametrize("name", CASES)
def test_the_first_crossing_is_found(x64, name, direction):
    functions, directions, signs, expected = CASES[name]
    mirrored = tuple(lambda t, y, g=g: jnp.asarray(g(direction * t, y)) for g in functions)
    conditions = Conditions(mirrored, tuple(directions))
    t0, t1 = jnp.asarray(0.0), jnp.asarray(float(direction))
    is_watched = jnp.array(signs) != 0
    crossing, _ = conditions.first_crossing(abs, t0, t1, jnp.array(signs, float), is_watched)
    assert bool(crossing.is_found) == (expected is not None)
    if expected is not None:
        np.testing.assert_allclose(crossing.t, direction * expected[0], atol=1e-15)
        assert int(crossing.event) == expected[1]


def test_a_crossing_that_nobody_wants_turns_the_sign_and_one_still_to_fire_does_not(x64):
    conditions = Conditions(tuple(lambda t, y, c=c: y - c for c in (0.5, 0.5, 0.5, 1.0)), (0, 1, -1, 0))
    signs = conditions.signs_behind(jnp.asarray(0.6), jnp.asarray(0.6), jnp.array([-1.0, -1.0, -1.0, -1.0]))
    np.testing.assert_array_equal(signs, [-1.0, -1.0, 1.0, -1.0])


def test_a_zero_has_the_sign_that_comes_next(x64):
    conditions = Conditions((lambda t, y: y, lambda t, y: -y, lambda t, y: y + 1.0), (0, 0, 0))
    for slope, dt, sign in ((2.0, 0.1, 1.0), (-2.0, 0.1, -1.0), (2.0, -0.1, -1.0)):
        signs = conditions.signs_ahead(jnp.asarray(0.0), jnp.asarray(0.0), jnp.asarray(slope), jnp.asarray(dt))
        np.testing.assert_array_equal(signs, [sign, -sign, 1.0])
