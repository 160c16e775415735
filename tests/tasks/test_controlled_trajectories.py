"""Controls of trajectories reach the field in every loss, each series and segment with its own."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.tasks import Collocation, GrowingHorizon, MultipleShooting, Phase, RollOut, TrajectoryTask

KEY = jax.random.key(0)
NUM_SERIES, NUM_TIMES = 3, 21
TIMES = np.tile(np.linspace(0.0, 2.0, NUM_TIMES), (NUM_SERIES, 1))
LEVELS = np.random.default_rng(0).normal(size=(NUM_SERIES, NUM_TIMES, 1))
STAGES = (
    MultipleShooting(segment_steps=4),
    RollOut(),
    GrowingHorizon(start_steps=5, batch_size=2),
    MultipleShooting(segment_steps=7, batch_size=4),
    Collocation(batch_size=30),
)


class Driven(nj.fields.AbstractField):
    """dy/dt = rate (u - y): known in closed form between two jumps of u."""

    rate: jax.Array

    def __call__(self, t, y, args):
        u = args.evaluate(t) if isinstance(args, nj.interpolate.AbstractPath) else args
        return self.rate * (u - y)


def states(levels):
    """The states at the rows under held levels, from 1."""
    decay, y = np.exp(-0.1), np.ones((NUM_SERIES, 1))
    rows = [y]
    for i in range(NUM_TIMES - 1):
        y = levels[:, i] + decay * (y - levels[:, i])
        rows.append(y)
    return np.stack(rows, axis=1)


def trajectories(values=LEVELS, between="hold", data=None, **others):
    held = values if values.ndim == 3 else np.repeat(values[:, None], NUM_TIMES, axis=1)
    controls = nj.data.Controls(values, ("u",), between)
    data = states(held) if data is None else data
    return nj.data.Trajectories(TIMES, data, ("y",), controls=controls, **others)


def task_of(data, stages=STAGES, t_scale=0.5, **settings):
    scaling = nj.models.Scaling(np.asarray(0.0), np.asarray(t_scale), np.zeros(1), np.ones(1), False)
    integrator = nj.Integrator(solver=nj.RK4(), controller=nj.FixedSteps(2))
    return TrajectoryTask(data, scaling, lambda key: Driven(jnp.asarray(t_scale)), integrator, stages, **settings)


@pytest.fixture(scope="module")
def task():
    return task_of(trajectories(), validation=trajectories(), validation_steps=6)


def at_truth(task, data):
    rows = list(task.start_rows)
    offsets = (jnp.asarray(data.values[:, rows], float) - task.rows.states[:, rows]) / task.noise
    return eqx.tree_at(lambda model: model.offsets, task.init(KEY), offsets)


@eqx.filter_jit
def loss_of(task, model, stage):
    return task.loss(model, KEY, Phase(stage, jnp.asarray(0.5)))[0]


@pytest.mark.parametrize("stage", range(4))
def test_every_loss_of_solves_vanishes_at_the_true_field_under_the_held_controls(task, stage):
    assert float(loss_of(task, at_truth(task, task.data), stage)) < 1e-8


def test_collocation_sees_the_control_of_each_row(task):
    # Of slopes that are those of the field, so that nothing but a wrong control leaves a residual.
    slopes = 0.5 * (task.rows.inputs.values - task.rows.states)
    exact = eqx.tree_at(lambda task: task.rows.slopes, task, slopes)
    assert float(loss_of(exact, exact.init(KEY), 4)) < 1e-10


def test_validation_and_prediction_follow_the_controls(task):
    assert float(eqx.filter_jit(task.validate)(at_truth(task, task.data))["loss"]) < 1e-3
    model = at_truth(task, task.data)
    # Smoothed starts are a bit aside where the data have kinks.
    np.testing.assert_allclose(task.predict(model).values, task.data.values[0], atol=0.05)
    inspection = task.inspect(model, KEY, Phase(3, jnp.asarray(0.0)))
    assert np.nanmax(np.abs(inspection.states - inspection.targets)) < 1e-3
    assert float(task.monitor(model)["dt_max"]) > 0


def test_constants_and_lines_are_controls_too():
    constant = trajectories(LEVELS[:, 0])
    task = task_of(constant, stages=STAGES[:2])
    for stage in range(2):
        assert float(loss_of(task, at_truth(task, constant), stage)) < 1e-8
    # y' = t + 1 - y has the solution t + exp(-t): a control that is a line through two rows of it.
    line = TIMES[..., None] + 1.0
    linear = trajectories(line, "linear", data=TIMES[..., None] + np.exp(-TIMES[..., None]))
    task = task_of(linear, stages=(RollOut(), MultipleShooting(segment_steps=20)))
    for stage in range(2):
        assert float(loss_of(task, at_truth(task, linear), stage)) < 1e-8


def test_series_of_other_lengths_keep_their_controls():
    times, values = TIMES.copy(), states(LEVELS)
    times[1, 12:], values[1, 12:] = times[1, 12], np.where(np.arange(9)[:, None] > 0, np.nan, values[1, 12:])
    levels = LEVELS.copy()
    levels[1, 13:] = levels[1, 12]
    controls = nj.data.Controls(levels, ("u",))
    data = nj.data.Trajectories(times, values, ("y",), controls=controls)
    task = task_of(data, stages=STAGES[:2])
    model = at_truth(task, nj.data.Trajectories(TIMES, states(LEVELS), ("y",)))
    for stage in range(2):
        assert float(loss_of(task, model, stage)) < 1e-8


def test_a_regularized_loss_hands_controls_on(task):
    costs = nj.losses.Regularization({"kinetic": nj.losses.KineticEnergy()}, (), {"kinetic": jnp.asarray(0.1)})
    costly = eqx.tree_at(lambda task: task.regularization, task, costs)
    with_cost = loss_of(costly, at_truth(task, task.data), 1)
    assert 1e-3 < float(with_cost) < 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nj.data.Controls(np.zeros((3, 4)), ("u",)), r"got \(3, 4\) and 1 names"),
        (lambda: nj.data.Controls(np.full((3, 4, 1), np.nan), ("u",)), "finite values"),
        (lambda: nj.data.Controls(np.zeros((3, 1)), ("u",), "cubic"), "'hold' or 'linear', got 'cubic'"),
        (lambda: trajectories(np.zeros((NUM_SERIES, 5, 1)), data=states(LEVELS)), r"controls for 3 series of 21 rows"),
        (lambda: trajectories(np.zeros((2, 1)), data=states(LEVELS)), "constant for each"),
        (
            lambda: task_of(trajectories(), validation=nj.data.Trajectories(TIMES, states(LEVELS), ("y",))),
            r"validation data with the controls \('u',\), got None",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(nj.UsageError, match=message):
        make()
