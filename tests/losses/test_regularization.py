"""The regularizers of a run as one value: the penalty is its formula, and reaches training from the config."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.config import RK4, ConstantStep, DiffraxSolver, Regularize
from node_jax.config.build import build
from node_jax.config.load import load_config
from node_jax.errors import UsageError
from node_jax.tasks import Phase

DEBUG = load_config(Path(__file__).parents[2] / "configs" / "debug.py")


def test_the_penalty_is_the_weighted_sum_with_the_multiplier_on_costs_of_solves():
    weights = {"kinetic": jnp.array(0.5), "error": jnp.array(2.0), "l1": jnp.array(0.1), "l2": jnp.array(0.01)}
    regularization = nj.losses.Regularization({"kinetic": nj.losses.KineticEnergy()}, ("error",), weights)
    parameters = {"w": jnp.array([[1.0, -2.0]]), "b": jnp.array([7.0])}
    costs = {"kinetic": jnp.array([1.0, 3.0, jnp.nan]), "error": jnp.array([0.2, 0.4, jnp.nan])}
    fine = jnp.array([True, True, False])
    total, means = regularization.penalty(costs, fine, parameters, jnp.array(3.0))
    assert float(total) == pytest.approx(3 * (0.5 * 2 + 2 * 0.3) + 0.1 * 3 + 0.01 * 5)
    assert {name: float(value) for name, value in means.items()} == pytest.approx({"kinetic": 2.0, "error": 0.3})

    def loss(costs):
        return regularization.penalty(costs, fine, parameters, jnp.array(3.0))[0]

    assert np.isfinite(jax.grad(loss)(costs)["kinetic"]).all()


def _loss(regularize, multiplier=1.0):
    task = build(dataclasses.replace(DEBUG, regularize=regularize)).task
    model = task.init(jax.random.key(0))
    phase = Phase(0, jnp.zeros(()), jnp.asarray(multiplier))
    return jax.jit(lambda model: task.loss(model, jax.random.key(1), phase))(model)


def test_a_config_adds_its_regularizers_to_the_loss_and_takes_the_same_steps():
    plain, plain_metrics = _loss(Regularize())
    loss, metrics = _loss(Regularize(kinetic=0.1, derivative=0.01, error=1.0, l2=0.001), multiplier=2.0)
    assert float(metrics["error_loss"]) == pytest.approx(float(plain), rel=1e-5)
    costs = 0.1 * metrics["kinetic"] + 0.01 * metrics["derivative"] + metrics["error"]
    model = build(DEBUG).task.init(jax.random.key(0))
    l2 = 0.001 * nj.losses.l2_norm_squared(model.field)
    assert float(loss) == pytest.approx(float(plain + 2 * costs + l2), rel=1e-5)
    for name in ("num_accepted", "num_rejected"):
        assert float(metrics[name]) == float(plain_metrics[name])
    assert "error_loss" not in plain_metrics


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Regularize(nfe_budget=40), "regularize.nfe_budget: expected a weight > 0 of one of kinetic"),
        (lambda: Regularize(constraint_rate=1.0), "regularize.constraint_rate: expected a weight > 0 of one of"),
        (lambda: Regularize(constraint_rate=0.0, residual=1), "regularize.constraint_rate: expected > 0"),
        (lambda: Regularize(constraint_rate=1.0, residual=1, nfe_budget=9), "None with a constraint_rate"),
        (lambda: Regularize(nfe_budget=0, kinetic=1), "regularize.nfe_budget: expected > 0"),
        (lambda: Regularize(kinetic=-1), "regularize.kinetic: expected at least 0"),
        (lambda: Regularize(derivative_order=0), "regularize.derivative_order"),
        (
            lambda: dataclasses.replace(DEBUG, solver=DiffraxSolver(), regularize=Regularize(error=1.0)),
            "regularize: expected a solver of this package",
        ),
        (
            lambda: dataclasses.replace(
                DEBUG, solver=RK4(), controller=ConstantStep(), regularize=Regularize(stiffness=1.0)
            ),
            "regularize: expected a solver with an error estimate",
        ),
    ],
)
def test_regularizers_that_cannot_work_are_refused_before_anything_compiles(make, message):
    with pytest.raises(UsageError, match=message):
        make()
