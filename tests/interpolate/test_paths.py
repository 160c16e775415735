"""Paths through data follow their formulas, fill in what is missing, and differentiate."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from node_jax.interpolate import CubicHermite, Linear, ZeroOrderHold
from tests.adjoints.cases import central_differences
from tests.adjoints.test_programs import equations

PATHS = [ZeroOrderHold, Linear, CubicHermite]
CONTINUOUS = [Linear, CubicHermite]
NAN = np.nan
TS = np.array([0.0, 0.5, 0.6, 2.0, 3.5])
VALUES = np.array([[1.0, -1.0], [2.0, 0.5], [0.0, 0.0], [-1.0, 3.0], [4.0, 2.0]])
INSIDE = np.array([0.0, 0.2, 0.5, 0.55, 0.6, 1.3, 2.0, 3.1, 3.5])


@functools.cache
def reader(path, name):
    return jax.jit(lambda ts, values, t: getattr(path(ts, values), name)(t))


def evaluate(path, ts, values, t):
    return reader(path, "evaluate")(ts, values, t)


def derivative(path, ts, values, t):
    return reader(path, "derivative")(ts, values, t)


def expected(path, ts, values):
    """The path by NumPy and SciPy, as a function of times within its knots."""
    if path is ZeroOrderHold:
        return lambda t: values[np.searchsorted(ts, t, side="right") - 1]
    if path is Linear:
        return lambda t: np.stack([np.interp(t, ts, column) for column in values.T], -1)
    backward = np.diff(values, axis=0) / np.diff(ts)[:, None]
    return CubicHermiteSpline(ts, values, np.concatenate([backward[:1], backward]))


@pytest.mark.parametrize("path", PATHS)
def test_values_follow_the_formula_and_are_held_beyond_the_ends(precision, path):
    ts, values = TS.astype(precision), VALUES.astype(precision)
    times = np.concatenate([INSIDE, TS, [-9.0, 9.0]]).astype(precision)
    inside, at_knots, beyond = np.split(evaluate(path, ts, values, times), [len(INSIDE), -2])
    tolerance = 1e-5 if precision == "float32" else 1e-12
    np.testing.assert_allclose(inside, expected(path, ts, values)(times[: len(INSIDE)]), atol=tolerance)
    np.testing.assert_array_equal(at_knots, values)
    np.testing.assert_array_equal(beyond, values[[0, -1]])
    assert inside.dtype == np.dtype(precision)


@pytest.mark.parametrize("num_knots", [3, 65, 200])
@pytest.mark.parametrize("path", PATHS)
def test_the_segment_is_found_among_few_and_many_knots(x64, path, num_knots):
    ts = np.cumsum(np.random.default_rng(0).uniform(0.1, 1.0, num_knots))
    values = np.random.default_rng(1).normal(size=(num_knots, 1))
    t = np.random.default_rng(2).uniform(ts[0], ts[-1], 300)
    np.testing.assert_allclose(evaluate(path, ts, values, t), expected(path, ts, values)(t), atol=1e-10)


@pytest.mark.parametrize("path", PATHS)
def test_the_derivative_is_that_of_the_value(x64, path):
    times = np.append(np.setdiff1d(INSIDE, TS), [-0.1, 3.6])
    slopes = jax.jit(jax.vmap(jax.jacfwd(lambda t: path(TS, VALUES).evaluate(t))))(times)
    np.testing.assert_allclose(derivative(path, TS, VALUES, times), slopes, atol=1e-12)
    np.testing.assert_array_equal(slopes[-2:], np.zeros((2, 2)))


@pytest.mark.parametrize("path", CONTINUOUS)
def test_at_the_last_knot_and_a_rounding_beyond_it_the_derivative_is_that_of_the_last_segment(precision, path):
    end = np.asarray(TS[-1], precision)
    times = np.array([end, np.nextafter(end, end + 1), end - end / 1000])
    slopes = derivative(path, TS.astype(precision), VALUES.astype(precision), times)
    assert np.all(slopes[0] != 0)
    np.testing.assert_allclose(slopes[1], slopes[0], rtol=1e-5)
    np.testing.assert_allclose(slopes[2], slopes[0], rtol=2e-2)


@pytest.mark.parametrize(
    ("path", "filled"),
    [
        (ZeroOrderHold, [[2.0, 5.0], [2.0, 5.0], [2.0, 7.0], [4.0, 7.0], [4.0, 7.0]]),
        (Linear, [[2.0, 5.0], [2.0, 5.0], [3.0, 7.0], [4.0, 7.0], [4.0, 7.0]]),
        (CubicHermite, [[2.0, 5.0], [2.0, 5.0], [3.0, 7.0], [4.0, 7.0], [4.0, 7.0]]),
    ],
)
@pytest.mark.parametrize("is_traced", [False, True])
def test_missing_values_are_filled_in_channel_by_channel(path, filled, is_traced):
    ts = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    values = np.array([[NAN, 5.0], [2.0, NAN], [NAN, 7.0], [4.0, NAN], [NAN, NAN]])
    values[1, 1] = NAN if path is ZeroOrderHold else 5.0
    build = jax.jit(path) if is_traced else path
    np.testing.assert_allclose(build(ts, values).values, filled, rtol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_gradients_reach_observed_values_and_no_missing_ones(x64, path):
    values = jnp.asarray(VALUES).at[2, 0].set(NAN)

    def total(values):
        return jnp.sum(jnp.sin(path(TS, values).evaluate(jnp.asarray(INSIDE))))

    gradient = jax.jit(jax.grad(total))(values)
    assert gradient[2, 0] == 0
    differences = central_differences(jax.jit(lambda row: total(values.at[1].set(row))), np.array([2.0, 0.5]))
    np.testing.assert_allclose(gradient[1], differences, rtol=1e-6)


@pytest.mark.parametrize("path", CONTINUOUS)
def test_gradients_reach_the_times_of_continuous_paths(x64, path):
    between = jnp.asarray(np.setdiff1d(INSIDE, TS))

    def total(ts):
        return jnp.sum(jnp.sin(path(ts, VALUES).evaluate(between)))

    differences = central_differences(jax.jit(total), TS)
    np.testing.assert_allclose(jax.jit(jax.grad(total))(TS), differences, atol=1e-6)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("padding", ["repeated", "missing"])
def test_repeating_the_last_time_is_harmless(x64, path, padding):
    rows = np.repeat(VALUES[-1:], 3, axis=0) if padding == "repeated" else np.full((3, 2), NAN)
    padded = np.append(TS, [TS[-1]] * 3), np.concatenate([VALUES, rows])
    t = np.append(INSIDE, [-1.0, 4.0])
    for read in (evaluate, derivative):
        np.testing.assert_array_equal(read(path, *padded, t), read(path, TS, VALUES, t))


@pytest.mark.parametrize("path", CONTINUOUS)
def test_two_knots_at_one_time_are_a_jump(x64, path):
    ts, values, t = (jnp.array(x) for x in ([0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 5.0, 5.0], [1.0 - 1e-12, 1.0, 1.5]))
    np.testing.assert_allclose(evaluate(path, ts, values, t), [1.0, 5.0, 5.0])
    assert np.isfinite(jax.jit(jax.jacrev(lambda ts: path(ts, values).evaluate(t)))(ts)).all()


@pytest.mark.parametrize("path", PATHS)
def test_one_knot_is_a_constant(path):
    one = np.array([1.0]), np.array([[3.0, 4.0]]), np.array([0.0, 1.0, 2.0])
    np.testing.assert_array_equal(evaluate(path, *one), [[3.0, 4.0]] * 3)
    np.testing.assert_array_equal(derivative(path, *one), np.zeros((3, 2)))


def test_axes_of_the_time_come_first_and_values_may_be_a_tree():
    u = Linear(jnp.arange(3), {"force": jnp.ones((3, 2, 4)), "valve": np.array([0, 1, 4])})
    value = jax.jit(lambda t: u(t))(jnp.full((5, 6), 1.5))
    assert value["force"].shape == (5, 6, 2, 4)
    np.testing.assert_array_equal(value["valve"], np.full((5, 6), 2.5))
    assert jax.eval_shape(u, 1)["valve"].shape == ()


@pytest.mark.parametrize("path", PATHS)
def test_a_batch_of_paths_is_made_by_vmap(x64, path):
    ts = jnp.stack([jnp.asarray(TS), jnp.asarray(TS) * 2])
    values = jnp.stack([jnp.asarray(VALUES).at[0].set(NAN), jnp.asarray(VALUES)])
    paths = jax.jit(jax.vmap(path))(ts, values)
    found = jax.jit(jax.vmap(lambda u: u.evaluate(1.1)))(paths)
    np.testing.assert_array_equal(found, [evaluate(path, ts[i], values[i], 1.1) for i in range(2)])
    with pytest.raises(ValueError, match="expected one path, got a batch of shape"):
        paths.evaluate(1.1)


def test_missing_values_cost_nothing_at_evaluation():
    u = Linear(jnp.arange(3.0), jnp.array([0.0, NAN, 1.0]))
    names = {equation.primitive.name for equation in equations(jax.make_jaxpr(u.evaluate)(0.5).jaxpr)}
    assert not names & {"cummax", "cummin", "is_finite"}


@pytest.mark.parametrize("path", PATHS)
def test_what_is_wrong_at_run_time_becomes_nan(path):
    for ts in ([0.0, 2.0, 1.0], [0.0, NAN, 1.0]):
        assert np.isnan(evaluate(path, np.array(ts), np.ones(3), 0.5))
    empty = evaluate(path, np.array([0.0, 1.0]), np.array([[1.0, NAN], [2.0, NAN]]), 0.5)
    np.testing.assert_array_equal(np.isnan(empty), [False, True])


@pytest.mark.parametrize(
    ("ts", "values", "error", "match"),
    [
        ([0.0, 2.0, 1.0], [1.0, 2.0, 3.0], ValueError, "ts[1] = 2.0 before ts[2] = 1.0"),
        ([0.0, NAN], [1.0, 2.0], ValueError, "expected finite times, got ts[1] = nan"),
        ([], [], ValueError, "ts of shape (time,) with at least one time, got shape (0,)"),
        (1.0, [1.0], ValueError, "ts of shape (time,) with at least one time, got shape ()"),
        (np.zeros((2, 3)), np.zeros((2, 3)), ValueError, "jax.vmap(nj.interpolate.Linear)(ts, values)"),
        (["a"], [1.0], TypeError, "real numbers"),
        ([1j], [1.0], TypeError, "ts to hold real numbers, got dtype complex"),
        ([0.0, 1.0], [1.0, 2.0, 3.0], ValueError, "with 2 rows, one for each of ts, got shape (3,)"),
        ([0.0, 1.0], {"a": 1.0}, ValueError, "values['a'] of shape (time, ...)"),
        ([0.0, 1.0], {}, ValueError, "at least one array"),
        ([0.0, 1.0], np.array([1j, 1j]), TypeError, "values to hold real numbers, got dtype complex"),
        ([0.0, 1.0], np.array([[1.0, NAN], [2.0, NAN]]), ValueError, "only NaN in values[:, 1]"),
    ],
)
@pytest.mark.parametrize("is_traced", [False, True], ids=["", "inside jit"])
def test_what_cannot_be_a_path_is_refused(ts, values, error, match, is_traced):
    with pytest.raises(error, match=re.escape(match)):
        jax.eval_shape(lambda: Linear(ts, values)) if is_traced else Linear(ts, values)
