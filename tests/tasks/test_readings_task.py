"""Readings with a changing noise: the likelihood is its formula, held-out readings have no part in it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.tasks import Phase, ReadingsModel, ReadingsTask

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)
# An oscillation read twice at every second time, with a noise that grows.
TIMES = np.sort(np.concatenate([np.linspace(1.0, 7.0, 31), np.linspace(1.0, 7.0, 31)[::2]]))
NOISE = 0.02 + 0.05 * (TIMES - 1.0)
VALUES = 3.0 + np.cos(TIMES - 1.0) + NOISE * RANDOM.standard_normal(TIMES.size)


def oscillator(key=None):
    return nj.fields.SecondOrderField(lambda t, x, v, args: -4.0 * x)


def task_of(held_out=None, make_field=oscillator, time_scale=2.0, num_knots=3, times=TIMES, values=VALUES):
    readings = nj.data.Readings(times, values, "height", "s", "m")
    held_out = np.arange(times.size) % 5 == 2 if held_out is None else held_out
    integrator = nj.Integrator(solver=nj.RK4(), controller=nj.FixedSteps(2), max_steps=64)
    return ReadingsTask(readings, held_out, time_scale, num_knots, make_field, integrator)


@pytest.fixture(scope="module")
def task():
    return task_of()


def at_truth(task):
    """The motion and the noise from which the readings were drawn."""
    time_scale, origin, unit = task.units
    start = jnp.array([(4.0 - origin) / unit, 0.0])
    # The oscillation is around 3, which is not the origin of x.
    centre = (3.0 - origin) / unit
    field = nj.fields.SecondOrderField(lambda t, x, v, args: -(time_scale**2) * (x - centre))
    noise = np.interp(np.asarray(task.knots) * time_scale + 1.0, TIMES, NOISE) / unit
    return ReadingsModel(field, start, jnp.log(jnp.asarray(noise, float)))


@eqx.filter_jit
def loss_of(task, model, fraction):
    return task.loss(model, KEY, Phase(0, fraction))


def test_the_loss_is_the_likelihood_of_the_fitted_readings_in_the_end(task):
    model = at_truth(task)
    loss, metrics = loss_of(task, model, jnp.asarray(1.0))
    fitted = ~task.is_held_out
    solution, scale = task.solve(model, task.times)
    _, origin, unit = task.units
    curve = 3.0 + np.cos(TIMES - 1.0)
    np.testing.assert_allclose(origin + unit * np.asarray(solution.ys[task.rows, 0]), curve, atol=1e-4)
    noise = unit * np.asarray(scale[task.rows])
    expected = np.mean((((VALUES - curve) / noise) ** 2 / 2 + np.log(noise / unit))[fitted])
    assert float(loss) == pytest.approx(expected, rel=1e-3)
    assert float(metrics["failed_share"]) == 0.0


def test_squares_alone_move_the_curve_at_first_and_the_noise_follows_the_likelihood(task):
    def gradient(fraction):
        return eqx.filter_jit(eqx.filter_grad(lambda model: task.loss(model, KEY, Phase(0, fraction))[0]))(model)

    model = eqx.tree_at(lambda model: model.start, at_truth(task), jnp.array([1.0, 0.2]))
    early, late = gradient(jnp.asarray(0.0)), gradient(jnp.asarray(1.0))
    squares = eqx.filter_jit(eqx.filter_grad(lambda model: task.loss(model, KEY, Phase(0, 0.0))[1]["squares"]))(model)
    np.testing.assert_allclose(early.start, squares.start, rtol=1e-4)
    np.testing.assert_allclose(early.log_noise, late.log_noise, rtol=1e-4)
    assert not np.allclose(early.start, late.start, rtol=0.1)


def test_a_failed_solve_has_no_loss_and_no_gradient(task):
    explodes = eqx.tree_at(lambda m: m.field, at_truth(task), lambda t, y, args: 1e3 * y**3)
    gradient, metrics = eqx.filter_grad(lambda m: task.loss(m, KEY, Phase(0, jnp.asarray(1.0))), has_aux=True)(explodes)
    assert metrics["failed_share"] == 1
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(eqx.filter(gradient, eqx.is_array)))


def test_readings_that_are_held_out_change_nothing_but_the_verdict(task):
    moved = np.where(task.is_held_out, VALUES + 5.0, VALUES)
    other, model = task_of(values=moved), at_truth(task)
    assert float(loss_of(other, model, jnp.asarray(1.0))[0]) == float(loss_of(task, model, jnp.asarray(1.0))[0])
    prediction = task.predict(model)
    assert prediction.truth.shape == prediction.noise.shape == (int(task.is_held_out.sum()), 1)
    score = (prediction.truth - prediction.values) / prediction.noise
    assert 0.5 < np.sqrt(np.mean(score**2)) < 1.6
    assert np.abs(other.predict(model).truth - prediction.truth).min() == pytest.approx(5.0)
    assert task.validate(model) is None


def test_the_verdict_counts_what_intervals_hold(task, tmp_path):
    model = at_truth(task)
    blind = eqx.tree_at(lambda model: model.log_noise, model, jnp.full(3, 3.0))
    found = task.evaluate(model, {"blind": blind}, tmp_path, lambda line: None)
    assert found.metrics["rmse"] < 0.4
    assert 0.3 <= found.metrics["coverage_50%"] <= 0.8
    assert found.metrics["coverage_50%"] < found.metrics["coverage_90%"]
    assert found.table.splitlines()[-1].endswith("| 1 | 1 |")
    assert (tmp_path / "fit.png").stat().st_size > 1000
    inspection = task.inspect(model, KEY, Phase(0, jnp.asarray(0.0)))
    assert inspection.targets.shape == inspection.states.shape == (1, 31, 2)
    assert float(task.monitor(model)["dt_max"]) > 0


def test_folds_share_all_readings_evenly():
    numbers = nj.data.folds(133, 10)
    counts = np.bincount(numbers)
    assert counts.sum() == 133
    assert set(counts) == {13, 14}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nj.data.Readings(TIMES, VALUES[:-1], "x"), "one shape"),
        (lambda: nj.data.Readings(TIMES[::-1], VALUES, "x"), "sorted times"),
        (lambda: nj.data.Readings(TIMES, np.where(VALUES > 3, np.nan, VALUES), "x"), "finite times and values"),
        (lambda: task_of(held_out=np.ones(TIMES.size, bool)), "leaves some readings to fit"),
        (lambda: task_of(num_knots=1), "at least 2 knots"),
        (lambda: task_of(time_scale=0.0), "time_scale > 0"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(nj.UsageError, match=message):
        make()
