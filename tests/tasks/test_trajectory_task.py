"""A curriculum's losses agree where they must, mask what failed, and compile once a stage."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.models import fit_scaling
from node_jax.tasks import Collocation, GrowingHorizon, MultipleShooting, Phase, RollOut, TrajectoryTask

KEY = jax.random.key(0)
STAGES = (
    Collocation(),
    MultipleShooting(segment_steps=4, continuity=(1.0, 100.0)),
    GrowingHorizon(start_steps=3),
    RollOut(),
    Collocation(batch_size=7),
)


class Linear(nj.fields.AbstractField):
    """dy/dt = matrix y."""

    matrix: jax.Array

    def __call__(self, t, y, args):
        del t, args
        return self.matrix @ y


def true_field(key=None):
    return Linear(jnp.array([[0.0, 1.0], [-4.0, 0.0]]))


def states_at(times):
    return np.stack([np.cos(2 * times), -2 * np.sin(2 * times)], -1)


# Two series, the second of fewer rows, at uneven times.
TIMES = np.cumsum(np.random.default_rng(0).uniform(0.05, 0.15, (2, 24)), 1)
TIMES[1, 18:] = TIMES[1, 17]
VALUES = states_at(TIMES)
VALUES[1, 18:] = np.nan


def identity(is_log=False):
    return nj.models.Scaling(np.asarray(0.0), np.asarray(1.0), np.zeros(2), np.ones(2), is_log)


def task_of(data=None, stages=STAGES, scaling=None, **settings):
    data = data or nj.data.Trajectories(TIMES, VALUES, ("x", "v"), has_missing=True)
    integrator = nj.Integrator(solver=nj.RK4(), controller=nj.FixedSteps(2))
    return TrajectoryTask(data, scaling or identity(), true_field, integrator, stages, **settings)


@pytest.fixture(scope="module")
def task():
    return task_of()


@eqx.filter_jit
def loss_of(task, model, stage, fraction):
    return task.loss(model, KEY, Phase(stage, fraction))


def starting_at(task, model, states):
    """The model whose start states are these."""
    smoothed = task.rows.states[:, list(task.start_rows)]
    return eqx.tree_at(lambda m: m.offsets, model, (jnp.asarray(states, float) - smoothed) / task.noise)


def at_truth(task):
    """The model whose start states lie on the trajectories."""
    return starting_at(task, task.init(KEY), states_at(TIMES)[:, list(task.start_rows)])


@pytest.mark.parametrize("stage", range(len(STAGES)))
def test_every_stage_vanishes_at_the_true_field_and_states(task, stage):
    loss, metrics = loss_of(task, at_truth(task), stage, jnp.asarray(0.5))
    assert float(loss) < (1e-3 if isinstance(STAGES[stage], Collocation) else 1e-8)
    assert float(metrics["failed_share"]) == 0.0


def test_shooting_from_states_on_the_trajectory_is_the_roll_out(task):
    # Of another field, data that it does not explain: continuity holds where its own roll-out starts the segments.
    rows = list(task.start_rows)
    field = Linear(jnp.array([[-0.1, 1.2], [-3.0, 0.1]]))
    model = eqx.tree_at(lambda m: m.forecaster.field, at_truth(task), field)
    solution = task.solve(model, task.starts(model), task.rows.times)
    model = starting_at(task, model, solution.ys[:, np.array(rows)])
    shooting, metrics = loss_of(task, model, 1, jnp.asarray(0.9))
    roll_out, _ = loss_of(task, model, 3, jnp.asarray(0.0))
    assert float(roll_out) > 0.01
    assert float(shooting) == pytest.approx(float(roll_out), rel=1e-4)
    assert float(metrics["jump"]) < 1e-4
    # A start beside the trajectory is a jump, that weighs more at the end of the stage.
    aside = starting_at(task, model, task.start_states(model).at[0, 1].add(0.3))
    early, late = (float(loss_of(task, aside, 1, jnp.asarray(f))[0]) for f in (0.0, 1.0))
    assert late > early + 10 * float(roll_out)


def test_a_growing_horizon_ends_at_the_roll_out_and_is_compiled_once(task):
    traces = []

    @eqx.filter_jit
    def value(task, model, fraction):
        traces.append(1)
        return task.loss(model, KEY, Phase(2, fraction))

    model = eqx.tree_at(lambda m: m.forecaster.field.matrix, at_truth(task), jnp.array([[-0.1, 1.2], [-3.0, 0.1]]))
    results = [value(task, model, jnp.asarray(fraction)) for fraction in (0.0, 0.5, 1.0)]
    assert len(traces) == 1
    evaluations = [float(metrics["num_evals"]) for _, metrics in results]
    assert evaluations[0] < evaluations[1] < evaluations[2]
    assert float(results[2][0]) == pytest.approx(float(loss_of(task, model, 3, jnp.asarray(0.0))[0]), rel=1e-6)


def test_rows_of_failed_solves_are_masked_and_counted(task):
    # From there the first series cannot be solved; its loss and gradient are left out.
    model = at_truth(task)
    broken = starting_at(task, model, task.start_states(model).at[0, 0].set(jnp.nan))

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient_of(model):
        return task.loss(model, KEY, Phase(1, jnp.zeros(())))[0]

    assert np.isfinite(gradient_of(broken).forecaster.field.matrix).all()
    for stage, share in ((1, 1 / 12), (3, 1 / 2)):
        loss, metrics = loss_of(task, broken, stage, jnp.zeros(()))
        assert float(loss) < 1e-8
        assert float(metrics["failed_share"]) == pytest.approx(share)
    validation_loss = eqx.filter_jit(task.validation_loss)
    assert float(validation_loss(broken)) == np.inf
    assert float(validation_loss(model)) < 1e-8


def test_a_fit_of_noisy_data_with_gaps_is_evaluated_against_the_truth(tmp_path):
    rng = np.random.default_rng(1)
    noisy = VALUES + 0.01 * rng.standard_normal(VALUES.shape)
    values = np.where(rng.uniform(size=VALUES.shape) < 0.1, np.nan, noisy)
    data = nj.data.Trajectories(TIMES, values, ("x", "v"), has_missing=True, truth=states_at(TIMES))
    task = task_of(data, stages=(RollOut(),), validation=data, validation_steps=5)
    model = task.init(KEY)
    still = eqx.tree_at(lambda m: m.forecaster.field.matrix, model, jnp.zeros((2, 2)))
    evaluation = task.evaluate(model, {"still": still}, tmp_path, lambda text: None)
    assert evaluation.metrics["relative_rmse_truth"] < 0.05
    assert 0.005 < evaluation.metrics["relative_rmse"] < 0.05
    assert 0 < evaluation.metrics["validation_loss"] < 1e-2
    assert evaluation.table.count("\n") == 3
    assert (tmp_path / evaluation.figures[0]).read_bytes().startswith(b"\x89PNG")


def test_initial_states_can_be_held_at_the_smoothed_ones():
    task = task_of(has_free_starts=False, stages=(MultipleShooting(segment_steps=4),))
    model = eqx.tree_at(lambda m: m.offsets, task.init(KEY), jnp.ones((2, 6, 2)))
    moved = np.asarray(task.start_states(model) - task.rows.states[:, list(task.start_rows)])
    np.testing.assert_array_equal(moved[:, 0], 0.0)
    np.testing.assert_allclose(moved[:, 1:], np.broadcast_to(task.noise, (2, 5, 2)), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: task_of(stages=()), "at least one stage"),
        (lambda: task_of(stages=(MultipleShooting(segment_steps=24),)), "at most 23 steps"),
        (lambda: task_of(stages=(GrowingHorizon(start_steps=30),)), "at most 23 steps"),
        (lambda: task_of(stages=(RollOut(batch_size=3),)), "batch_size of at most 2 in stage 0"),
        (lambda: task_of(stages=(Collocation(), MultipleShooting(segment_steps=5, batch_size=11))), "at most 10 in"),
        (lambda: task_of(validation_steps=24), "validation_steps between 1 and 23"),
        (lambda: task_of(scaling=identity(is_log=True)), "positive values"),
        (lambda: MultipleShooting(segment_steps=3, continuity=(0.0, 1.0)), "two finite weights > 0"),
        (lambda: Collocation(batch_size=0), "Collocation.batch_size"),
        (lambda: GrowingHorizon(start_steps=0), "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(nj.UsageError, match=message):
        make()


def test_scaling_leaves_missing_values_out():
    scaling = fit_scaling(np.arange(4.0), np.array([[1.0], [np.nan], [3.0], [np.nan]]), 1.0, "standard")
    assert (float(scaling.loc[0]), float(scaling.scale[0])) == (2.0, 1.0)
