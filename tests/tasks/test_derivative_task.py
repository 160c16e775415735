"""Derivative matching finds a field from its slopes, and tells what its solves conserve."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import node_jax as nj
from node_jax.config import (
    DerivativeMatching,
    Forecast,
    HamiltonianNetwork,
    HareLynxData,
    LagrangianNetwork,
    MechanicalData,
    MLPField,
    Regularize,
    Run,
    SimulatedData,
    Trajectory,
)
from node_jax.config.build import build
from node_jax.config.builders.fields import build_field
from node_jax.data import MECHANICAL_SETUPS, simulate_mechanics
from node_jax.errors import UsageError
from node_jax.losses import KineticEnergy, Regularization
from node_jax.models import combine_trainable, partition_trainable
from node_jax.tasks import DerivativeTask, Phase

KEY = jax.random.key(0)
PHASE = Phase(0, jnp.zeros(()))


@pytest.fixture(scope="module")
def mechanics():
    """Few masses on springs, without noise."""
    setup = dataclasses.replace(MECHANICAL_SETUPS["mass-spring"], num_series=6, num_test=2, noise=0.0)
    return simulate_mechanics("mass-spring", setup, num_rollouts=2)


def _task(mechanics, **options):
    def make_field(key):
        return nj.fields.SeparableHamiltonianField.natural_network(2, 16, 1, key=key)

    return DerivativeTask(
        mechanics.train.select(slice(4)),
        make_field,
        nj.Integrator(controller=nj.PIController(rtol=1e-5, atol=1e-5)),
        validation=mechanics.train.select(slice(4, None)),
        test=mechanics.test,
        rollouts=mechanics.rollouts,
        energy=mechanics.system.energy,
        **options,
    )


@pytest.fixture(scope="module")
def trained(mechanics):
    """A task, its fresh field, and that field after some steps."""
    task = _task(mechanics, batch_size=60)
    fresh = task.init(KEY)
    parameters, rest = partition_trainable(fresh)
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-2, 800))

    @jax.jit
    def fit(parameters):
        def step(carry, key):
            value = jax.value_and_grad(lambda p: task.loss(combine_trainable(p, rest), key, PHASE)[0])
            updates, state = optimizer.update(value(carry[0])[1], carry[1])
            return (optax.apply_updates(carry[0], updates), state), None

        start = parameters, optimizer.init(parameters)
        return jax.lax.scan(step, start, jax.random.split(KEY, 800))[0][0]

    return task, fresh, combine_trainable(fit(parameters), rest)


def test_a_field_is_found_from_slopes_and_its_solves_keep_the_true_energy(trained):
    task, fresh, model = trained
    before, after = task.measure(fresh), task.measure(model)
    assert set(after) == {
        *(f"derivative_loss_{part}" for part in ("train", "validation", "test")),
        *("energy_mse", "state_mse", "failed_solves"),
    }
    assert after["derivative_loss_test"] < 1e-3 * before["derivative_loss_test"]
    assert after["energy_mse"] < 0.02 < before["energy_mse"]
    assert after["failed_solves"] == 0
    np.testing.assert_allclose(task.validate(model)["loss"], after["derivative_loss_validation"], rtol=1e-4)


def test_the_true_field_has_no_errors(mechanics):
    found = _task(mechanics).measure(mechanics.system)
    assert max(found.values()) < 1e-5


def test_a_field_of_plain_functions_is_measured(mechanics):
    task = DerivativeTask(mechanics.train, lambda key: mechanics.system, nj.Integrator())
    by_hand = nj.fields.HamiltonianField(lambda y: jnp.sum(y**2))
    assert task.measure(by_hand)["derivative_loss_train"] < 1e-5


def test_the_report_holds_fields_side_by_side_and_draws_their_energy(trained, tmp_path):
    task, fresh, model = trained
    evaluation = task.evaluate(model, {"fresh": fresh}, tmp_path, lambda line: None)
    assert evaluation.figures == ("rollouts.png", "energy.png")
    assert all((tmp_path / name).is_file() for name in evaluation.figures)
    assert evaluation.table.count("\n") == 3
    assert 0 < evaluation.metrics["energy_mse"] < 0.02


def test_a_batch_is_inspected_and_the_first_roll_out_predicted(trained):
    task, _, model = trained
    seen = task.inspect(model, KEY, PHASE)
    assert seen.targets.shape == seen.states.shape == (60, 1, 2)
    loss = task.loss(model, KEY, PHASE)[0]
    np.testing.assert_allclose(seen.figures["mean squared error"].mean(), loss, rtol=1e-4)
    prediction = task.predict(model)
    np.testing.assert_allclose(prediction.values[:3], prediction.truth[:3], atol=0.1)


def test_without_roll_outs_derivatives_are_predicted_and_nothing_is_drawn(mechanics, tmp_path):
    task = DerivativeTask(mechanics.train, lambda key: mechanics.system, nj.Integrator(), test=mechanics.test)
    prediction = task.predict(mechanics.system)
    assert prediction.names == ("dq/dt", "dp/dt")
    np.testing.assert_allclose(prediction.values, prediction.truth, atol=1e-5)
    assert task.draw(mechanics.system, {}, tmp_path) == ()
    assert task.validate(mechanics.system) is None


def test_every_field_of_mechanics_is_built_from_a_config():
    data = MechanicalData(num_series=4, num_times=6, num_rollouts=1)
    task = DerivativeMatching(validation_share=0.25, integrates_derivatives=True)
    kinds = {
        HamiltonianNetwork(): nj.fields.HamiltonianField,
        HamiltonianNetwork(structure="separable"): nj.fields.SeparableHamiltonianField,
        HamiltonianNetwork(structure="natural"): nj.fields.SeparableHamiltonianField,
        LagrangianNetwork(): nj.fields.NaturalLagrangianField,
        LagrangianNetwork(is_natural=False): nj.fields.LagrangianField,
    }
    built = build(Run(name="mechanics", task=task, data=data, field=HamiltonianNetwork())).task
    assert built.data.num_rows == 18
    assert built.validation.num_rows == 6
    for config, kind in kinds.items():
        field = build_field(config, 2, KEY)
        assert isinstance(field, kind)
        assert jax.eval_shape(lambda y: field(0.0, y, None), jnp.ones(2)).shape == (2,)  # noqa: B023


def _run(**changes):
    parts = {"name": "x", "task": DerivativeMatching(), "data": MechanicalData(), "field": MLPField()}
    return Run(**(parts | changes))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: _task(m, batch_size=1000), "batch_size between 1 and the number of rows, 120"),
        (lambda m: _task(m, regularization=Regularization(costs={"kinetic": KineticEnergy()})), "no costs of solves"),
        (
            lambda m: DerivativeTask(m.train, None, nj.Integrator(), energy=m.system.energy),
            "rollouts beside an energy",
        ),
        (lambda m: DerivativeTask(m.train, None, nj.Integrator()).roll_out(m.system), "expected rollouts, got None"),
        (lambda m: DerivativeMatching(validation_share=1.0), "a share in \\[0, 1\\)"),
        (lambda m: MechanicalData(num_times=1), "data.num_times"),
        (lambda m: HamiltonianNetwork(width=0), "field.width"),
        (lambda m: _run(data=HareLynxData()), "expected MechanicalData"),
        (lambda m: _run(regularize=Regularize(kinetic=1.0)), "no costs of solves with DerivativeMatching.*kinetic"),
        (lambda m: _run(task=Trajectory(), data=SimulatedData(), field=LagrangianNetwork()), "transform none"),
        (lambda m: _run(task=Forecast(train_until=1.0)), "Choose a task Trajectory"),
    ],
)
def test_what_does_not_fit_is_refused(mechanics, call, message):
    with pytest.raises(UsageError, match=message):
        call(mechanics)
