"""Each optimizer and schedule of the config moves parameters as its formula says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from node_jax.config import (
    LBFGS,
    SGD,
    Adam,
    AdamW,
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    Lion,
    StepSchedule,
)
from node_jax.config.builders.optimizer import build_optimizer
from node_jax.errors import UsageError
from node_jax.train import Programs, StepSettings
from node_jax.train.state import init_state
from tests.train.cases import Bowl

PARAMETERS = {"weight": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([1.0, -1.0]), "rate": jnp.array(2.0)}
GRADIENTS = [jax.tree.map(lambda x, s=s: s * jnp.cos(3 * x), PARAMETERS) for s in (1.0, -0.4, 0.7)]


def _sgd(g, memory, p, n, decay):
    memory["v"] = g + 0.9 * memory.get("v", 0)
    return -0.1 * memory["v"]


def _nesterov(g, memory, p, n, decay):
    memory["v"] = g + 0.9 * memory.get("v", 0)
    return -0.1 * (g + 0.9 * memory["v"])


def _adam(g, memory, p, n, decay):
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    memory["s"] = 0.999 * memory.get("s", 0) + 0.001 * g**2
    return -0.1 * memory["m"] / (1 - 0.9**n) / (np.sqrt(memory["s"] / (1 - 0.999**n)) + 1e-8)


def _adamw(g, memory, p, n, decay):
    return _adam(g, memory, p, n, decay) - 0.1 * decay * p


def _lion(g, memory, p, n, decay):
    update = np.sign(0.9 * memory.get("m", 0) + 0.1 * g)
    memory["m"] = 0.99 * memory.get("m", 0) + 0.01 * g
    return -0.1 * (update + decay * p)


@pytest.mark.parametrize(
    ("config", "formula"),
    [
        (SGD(lr=0.1, momentum=0.0), lambda g, memory, p, n, decay: -0.1 * g),
        (SGD(lr=0.1, momentum=0.9), _sgd),
        (SGD(lr=0.1, momentum=0.9, is_nesterov=True), _nesterov),
        (Adam(lr=0.1), _adam),
        (AdamW(lr=0.1, weight_decay=0.3), _adamw),
        (Lion(lr=0.1, weight_decay=0.3), _lion),
    ],
    ids=["sgd", "momentum", "nesterov", "adam", "adamw", "lion"],
)
def test_an_optimizer_moves_by_its_formula_and_decays_weight_matrices_only(config, formula):
    optimizer = build_optimizer(config, ConstantSchedule(), 10, None)
    parameters, state = PARAMETERS, optimizer.init(PARAMETERS)
    expected, memories = jax.tree.map(np.asarray, PARAMETERS), {name: {} for name in PARAMETERS}
    for n, gradient in enumerate(GRADIENTS, start=1):
        updates, state = optimizer.update(gradient, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        for name, p in expected.items():
            decay = 0.3 if name == "weight" else 0.0
            expected[name] = p + formula(np.asarray(gradient[name]), memories[name], p, n, decay)
    for name, value in expected.items():
        np.testing.assert_allclose(parameters[name], value, rtol=2e-5, err_msg=name)


def test_lbfgs_reaches_the_minimum_of_a_bowl_in_a_few_steps():
    task = Bowl(jnp.array([[1.0, -1.0]]))
    optimizer = build_optimizer(LBFGS(), ConstantSchedule(), 10, 1.0)
    state, rest = init_state(task, optimizer, 0)
    state, metrics = Programs(task, optimizer, rest, state, StepSettings()).advance(state, task, rest, 4, 0, 0, 10)
    np.testing.assert_allclose(state.parameters.w, task.target, atol=1e-5)
    assert float(metrics["loss"][-1]) < 1e-8


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (ConstantSchedule(), {0: 1.0, 99: 1.0}),
        (ConstantSchedule(warmup_steps=4), {0: 0.25, 1: 0.5, 3: 1.0, 50: 1.0}),
        (CosineSchedule(final_fraction=0.2), {0: 1.0, 50: 0.6, 100: 0.2}),
        (CosineSchedule(warmup_steps=20), {0: 0.05, 19: 1.0, 20: 1.0, 60: 0.5, 100: 0.0}),
        (ExponentialSchedule(decay_steps=10, factor=0.5), {0: 1.0, 10: 0.5, 15: 0.5**1.5, 30: 0.125}),
        (StepSchedule(boundaries=(10, 20), factor=0.1), {0: 1.0, 9: 1.0, 11: 0.1, 25: 0.01}),
        (StepSchedule(warmup_steps=5, boundaries=(10, 20), factor=0.1), {0: 0.2, 9: 1.0, 11: 0.1, 25: 0.01}),
    ],
)
def test_a_schedule_has_the_rate_of_its_formula(schedule, rates):
    optimizer = build_optimizer(SGD(lr=1.0, momentum=0.0), schedule, 100, None)
    unit = {"w": jnp.ones(())}

    def move(state, _):
        updates, state = optimizer.update(unit, state, unit)
        return state, -updates["w"]

    _, found = jax.lax.scan(move, optimizer.init(unit), None, length=101)
    for step, rate in rates.items():
        assert float(found[step]) == pytest.approx(rate, abs=1e-6), step


def test_the_gradient_is_clipped_to_its_norm():
    optimizer = build_optimizer(SGD(lr=1.0, momentum=0.0), ConstantSchedule(), 10, 2.0)
    gradient = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}
    updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    np.testing.assert_allclose(optax.tree.norm(updates), 2.0, rtol=1e-6)
    np.testing.assert_allclose(updates["a"], [-1.2, 0.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(is_nesterov=True, momentum=0.0), "a momentum > 0"),
        (lambda: Lion(b2=1.0), r"optimizer.b2: expected a number in \[0, 1\)"),
        (lambda: AdamW(weight_decay=-1.0), "optimizer.weight_decay: expected at least 0"),
        (lambda: LBFGS(memory_size=0), "optimizer.memory_size: expected at least 1"),
        (lambda: StepSchedule(boundaries=(20, 10)), "increasing steps"),
        (lambda: StepSchedule(warmup_steps=50, boundaries=(20,)), "after the warm-up of 50"),
        (lambda: ExponentialSchedule(factor=0.0), "schedule.factor"),
        (lambda: CosineSchedule(warmup_steps=-1), "schedule.warmup_steps"),
    ],
)
def test_what_cannot_be_is_refused_with_its_cure(make, message):
    with pytest.raises(UsageError, match=message):
        make()
