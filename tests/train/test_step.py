"""One optimizer step: accumulation, averages, skipping and the budget do what their formulas say."""

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from node_jax.train import Programs, StepSettings
from node_jax.train.state import init_state, step_key
from tests.train.cases import Bowl

TARGET = jnp.array([[1.0, -1.0]])


def _train(task, optimizer, num_steps, settings=StepSettings(), dispatches=1):  # noqa: B008
    state, rest = init_state(task, optimizer, 0, settings.ema_decay is not None)
    programs = Programs(task, optimizer, rest, state, settings)
    rows = []
    for _ in range(dispatches):
        state, metrics = programs.advance(state, task, rest, num_steps, 0, 0, 40)
        rows.append(metrics)
    return state, jax.tree.map(lambda *values: jnp.concatenate(values), *rows)


def test_one_dispatch_of_many_steps_equals_many_of_one():
    whole, losses = _train(Bowl(TARGET, noise=0.5), optax.adam(0.1), 6)
    parts, losses_of_parts = _train(Bowl(TARGET, noise=0.5), optax.adam(0.1), 2, dispatches=3)
    chex.assert_trees_all_close(whole.parameters, parts.parameters, rtol=1e-6)
    chex.assert_trees_all_close(losses, losses_of_parts, rtol=1e-6)


class Aimed(eqx.Module):
    """A model that comes with where it is to go, which is not trained."""

    w: jax.Array
    aim: jax.Array


class Aim(Bowl):
    """The bowl around a place that is drawn with the model."""

    def init(self, key):
        return Aimed(jnp.zeros(2), jax.random.randint(key, (2,), 1, 100))

    def loss(self, model, key, phase):
        return jnp.sum((model.w - model.aim) ** 2), {}

    def validate(self, model):
        return {"loss": jnp.sum(jnp.abs(model.aim))}


def test_runs_that_share_programs_keep_what_is_not_trained():
    task, optimizer = Aim(TARGET), optax.sgd(0.5)
    states, rests = zip(*(init_state(task, optimizer, seed) for seed in (0, 1)), strict=True)
    programs = Programs(task, optimizer, rests[0], states[0], StepSettings())
    aims = [np.asarray(rest.aim) for rest in rests]
    assert (aims[0] != aims[1]).any()
    together, _ = programs.advance_all(states, [task, task], rests, 1, 0, 0, 40)
    for state, rest, aim, found in zip(states, rests, aims, together, strict=True):
        assert programs.validate(state, task, rest) == {"loss": aim.sum()}
        moved, _ = programs.advance(state, task, rest, 1, 0, 0, 40)
        np.testing.assert_allclose(moved.parameters.w, aim, rtol=1e-6)
        np.testing.assert_allclose(found.parameters.w, aim, rtol=1e-6)


def test_accumulated_batches_give_the_gradient_of_their_mean():
    task, rate = Bowl(TARGET, noise=1.0), 0.1
    state, rest = init_state(task, optax.sgd(rate), 0)
    start, key = np.asarray(state.parameters.w), step_key(state)
    noises = [jax.random.normal(k, start.shape) for k in jax.random.split(key, 4)]
    programs = Programs(task, optax.sgd(rate), rest, state, StepSettings(accumulate=4))
    moved, _ = programs.advance(state, task, rest, 1, 0, 0, 40)
    mean = np.mean([start - TARGET - noise for noise in noises], axis=0)
    np.testing.assert_allclose(moved.parameters.w, start - rate * mean, rtol=1e-5)


def test_the_average_follows_its_recursion():
    decay, rate = 0.9, 0.1
    state, _ = _train(Bowl(TARGET), optax.sgd(rate), 30, StepSettings(ema_decay=decay))
    w = average = np.full((1, 2), 3.0)
    for n in range(30):
        w = w - rate * (w - np.asarray(TARGET))
        d = min(decay, (1 + n) / (10 + n))
        average = d * average + (1 - d) * w
    np.testing.assert_allclose(state.parameters.w, w, rtol=1e-4)
    np.testing.assert_allclose(state.average.w, average, rtol=1e-4)
    assert state.best_parameters is state.average


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted():
    task = Bowl(TARGET, breaks_at=3, breaks_once=True)
    state, metrics = _train(task, optax.adam(0.1), 8, StepSettings(ema_decay=0.5))
    assert metrics["skipped_share"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert int(state.step) == 8
    without, _ = _train(Bowl(TARGET), optax.adam(0.1), 7, StepSettings(ema_decay=0.5))
    chex.assert_trees_all_close(state.parameters, without.parameters, rtol=1e-5)
    assert int(state.optimizer[0].count) == 7
    assert np.isfinite(state.average.w).all()


def test_the_multiplier_holds_the_evaluations_to_their_budget():
    budget = 40.0
    settings = StepSettings(nfe_budget=budget, budget_rate=0.1)
    state, metrics = _train(Bowl(jnp.array([[2.0, 2.0]]), cost=0.01), optax.sgd(0.1), 400, settings)
    assert np.mean(metrics["num_evals"][-50:]) == pytest.approx(budget, rel=0.02)
    assert float(jnp.exp(state.log_multiplier)) == pytest.approx(float(metrics["multiplier"][-1]), rel=0.05)
    # |w|² = 1 where w = target / (1 + 2 cost multiplier).
    assert float(metrics["multiplier"][-1]) == pytest.approx((np.sqrt(8) - 1) / 0.02, rel=0.05)


def test_steps_that_solve_nothing_leave_the_multiplier_alone():
    class Unsolved(Bowl):
        def loss(self, model, key, phase):
            value, metrics = super().loss(model, key, phase)
            return value, metrics | {"num_evals": jnp.zeros(())}

    state, _ = _train(Unsolved(TARGET), optax.sgd(0.1), 5, StepSettings(nfe_budget=40.0, budget_rate=0.1))
    assert float(state.log_multiplier) == 0


def test_under_a_constraint_the_regularizers_fall_until_the_fit_is_exact():
    class Fitted(Bowl):
        """min |w|² subject to (w - target)² = 0, by the loss error + multiplier |w|²."""

        def loss(self, model, key, phase):
            error = jnp.sum((model.w - self.target) ** 2)
            return error + phase.multiplier * jnp.sum(model.w**2), {"error_loss": error}

    rate = 20.0
    state, metrics = _train(Fitted(TARGET), optax.sgd(0.1), 300, StepSettings(constraint_rate=rate))
    ratios = 1 / metrics["multiplier"]
    np.testing.assert_allclose(jnp.diff(ratios), rate * metrics["error_loss"][:-1], rtol=1e-2, atol=1e-3)
    assert float(metrics["error_loss"][-1]) < 1e-3 < float(metrics["error_loss"][0])
    np.testing.assert_allclose(state.parameters.w, TARGET, atol=0.03)


def test_without_a_budget_the_multiplier_stays_at_one():
    state, metrics = _train(Bowl(TARGET), optax.sgd(0.1), 3)
    assert float(state.log_multiplier) == 0
    assert "multiplier" not in metrics
