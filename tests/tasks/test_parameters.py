"""What a fit of trajectories tells of the mechanism's parameters, and where it draws a phase portrait."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.fields import MLP, DampedPendulum, HybridField
from node_jax.models import fit_scaling
from node_jax.tasks import RollOut, TrajectoryTask
from node_jax.tasks.parameters import describe_parameters, parameter_metrics
from node_jax.tasks.portraits import draw_portraits, in_units, is_autonomous

TIMES = np.linspace(0.0, 6.0, 16)
TRUE = {"omega0": 2 * np.pi / 6, "damping": 0.2}


@pytest.fixture(scope="module")
def data():
    starts = np.array([[1.5, 0.0], [-0.5, 1.2], [0.3, -1.6]])
    return nj.data.simulate(DampedPendulum(6.0, 0.2), starts, TIMES, noise=0.03, names=("angle", "rate"))


def task_of(data, field, has_free_starts):
    scaling = fit_scaling(TIMES, data.values.reshape(-1, 2), 1.0, "none")
    integrator = nj.Integrator(nj.RK4(), nj.FixedSteps(2))
    return TrajectoryTask(data, scaling, lambda key: field, integrator, [RollOut()], has_free_starts=has_free_starts)


def test_the_parameters_of_a_fit_have_intervals_that_free_starts_widen(data):
    widths = []
    for has_free_starts in (False, True):
        task = task_of(data, DampedPendulum(6.0, 0.2), has_free_starts)
        model = task.init(jax.random.key(0))
        found = task.identify(model)
        assert dict(zip(found.names, found.estimates, strict=True)) == pytest.approx(TRUE, rel=1e-5)
        widths.append(found.standard_errors)
        table = describe_parameters(found, model.forecaster.field, task.scaling, "s")
        assert "time in s" in table
        assert "held fixed" not in table
        metrics = parameter_metrics(found)
        assert metrics["parameter_damping_low"] < metrics["parameter_damping"] < metrics["parameter_damping_high"]
    assert (widths[1] > widths[0]).all()


def test_of_a_hybrid_the_mechanism_has_parameters_and_of_a_network_none(data):
    network = MLP(2, 4, 1, key=jax.random.key(0))
    hybrid = HybridField(DampedPendulum(6.0), network, acts_on=(1,))
    # Left alone, this network is the friction.
    friction = eqx.tree_at(
        lambda n: (n.weights, n.biases),
        MLP(2, 1, 0, key=jax.random.key(0)),
        (
            (jnp.array([[0.0, 0.0], [0.0, -0.2]]),),
            (jnp.zeros(2),),
        ),
    )
    exact = task_of(data, HybridField(DampedPendulum(6.0), friction), False)
    found = exact.identify(exact.init(jax.random.key(0)))
    assert found.names == ("omega0",)
    assert float(found.estimates[0]) == pytest.approx(TRUE["omega0"], rel=1e-5)
    low, high = found.intervals(0.99)[0]
    assert low < TRUE["omega0"] < high
    aside = task_of(data, hybrid, False)
    model = aside.init(jax.random.key(0))
    table = describe_parameters(aside.identify(model), hybrid, aside.scaling, "s")
    assert "The network is held fixed" in table
    assert "not at the optimum" in table
    alone = task_of(data, network, False)
    assert alone.identify(alone.init(jax.random.key(0))) is None


def test_a_portrait_is_in_the_units_of_the_data_and_of_fields_without_time(data, tmp_path):
    scaling = nj.models.Scaling(np.asarray(0.0), np.asarray(2.0), np.array([1.0, -1.0]), np.array([3.0, 0.5]), False)
    field = DampedPendulum(6.0, 0.2)
    z = jnp.array([0.3, -0.7])
    expected = np.array([3.0, 0.5]) / 2 * np.asarray(field(0.0, z))
    found = in_units(field, scaling)(0.0, scaling.state_from_model(z), None)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    timed = MLP(2, 3, 1, is_time_dependent=True, key=jax.random.key(0))
    assert is_autonomous(field)
    assert not is_autonomous(timed)
    assert not draw_portraits({"model": timed}, data, scaling, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
