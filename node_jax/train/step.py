"""The compiled program: several optimizer steps in one dispatch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from node_jax.models import combine_trainable
from node_jax.tasks import AbstractTask, Phase
from node_jax.train.state import TrainState, step_key
from node_jax.tree import tree_where
from node_jax.types import Key

Metrics = dict[str, Array]
Advance = Callable[..., tuple[TrainState, Metrics]]


@dataclass(frozen=True)
class StepSettings:
    """What one optimizer step is made of.

    Arguments:
        accumulate: batches whose gradients are averaged in one step.
        ema_decay: decay of the moving average of the parameters, in [0, 1); `None` keeps none. The first steps decay
            faster, by (1 + n) / (10 + n), so that the initial values do not linger.
        nfe_budget: field evaluations of a solve, on average, to which the multiplier of the regularizers holds
            training; `None` keeps the multiplier at 1.
        budget_rate: how fast the multiplier moves: its logarithm grows by budget_rate (evaluations / budget - 1) a
            step.
        constraint_rate: how fast the multiplier falls by the error of the fit; see `tighten_constraint`. `None` leaves
            it alone.
    """

    accumulate: int = 1
    ema_decay: float | None = None
    nfe_budget: float | None = None
    budget_rate: float = 0.02
    constraint_rate: float | None = None


LARGEST_LOG_MULTIPLIER = 12.0
"""The multiplier stays between exp(-12) and exp(12): beyond it a loss in float32 is nothing but its regularizers."""


def update_multiplier(log_multiplier: Float[Array, ""], num_evals: Any, budget: float, rate: float) -> Float[Array, ""]:
    """One step of gradient ascent on the multiplier of the constraint (evaluations) <= (budget).

        log λ <- log λ + rate (evaluations / budget - 1), within ±LARGEST_LOG_MULTIPLIER

    λ multiplies the regularizers, so that they weigh more as long as solves cost too much, and less where they could
    cost more.

    Arguments:
        log_multiplier: log λ, a scalar array.
        num_evals: field evaluations of a solve in this step, on average.
        budget: evaluations to hold training to, > 0.
        rate: how fast log λ follows, > 0; the larger, the sooner the budget is met, and the more λ swings about.

    Returns:
        log λ for the next step, in the same dtype.

    Example:
        >>> import jax.numpy as jnp
        >>> from node_jax.train import update_multiplier
        >>> float(update_multiplier(jnp.zeros(()), 60.0, budget=40.0, rate=0.5))
        0.25
    """
    moved = log_multiplier + rate * (num_evals / budget - 1)
    return jnp.clip(moved, -LARGEST_LOG_MULTIPLIER, LARGEST_LOG_MULTIPLIER).astype(log_multiplier.dtype)


def tighten_constraint(log_multiplier: Float[Array, ""], error: Any, rate: float) -> Float[Array, ""]:
    """One step of gradient ascent on the multiplier λ of the constraint (error) = 0, under which the regularizers are
    to be least:

        min R  subject to  L = 0:        λ <- λ + rate L,  with the loss  L + R / λ,  from λ = 1 on.

    What multiplies the regularizers is 1/λ: it falls as long as the fit is not exact. At least exp(-12).

    Arguments:
        log_multiplier: -log λ, a scalar array.
        error: L of this step, >= 0.
        rate: > 0; the larger, the sooner the error rules.

    Returns:
        -log λ for the next step, in the same dtype.

    Reference: Yin et al. (2021), arXiv:2010.04456, whose loss is λ L + R.

    Example:
        >>> import jax.numpy as jnp
        >>> from node_jax.train import tighten_constraint
        >>> round(float(jnp.exp(-tighten_constraint(jnp.zeros(()), 0.5, rate=4.0))), 4)
        3.0
    """
    moved = log_multiplier - jnp.log1p(rate * error * jnp.exp(log_multiplier))
    return jnp.clip(moved, -LARGEST_LOG_MULTIPLIER, LARGEST_LOG_MULTIPLIER).astype(log_multiplier.dtype)


def make_advance(
    task: AbstractTask, optimizer: optax.GradientTransformation, rest: Any, settings: StepSettings
) -> Advance:
    """A function `advance(state, arrays, num_steps, stage, stage_start, stage_steps)` that takes `num_steps` optimizer
    steps in one `lax.scan`; it is to be jitted with `num_steps` and `stage` static.

    A step whose loss or gradient is not finite changes nothing but the step number and is counted in the metric
    `skipped_share`. Metrics come back as arrays of shape (num_steps,).

    Arguments:
        task: its arrays are inputs of the function (`arrays`, its leaves that are arrays), not constants in it.
        optimizer: an Optax gradient transformation. It is given `value`, `grad` and `value_fn`, as a line search needs.
        rest: the untrained part of the model.
        settings: what a step is made of.
    """
    task_arrays, task_static = eqx.partition(task, eqx.is_array)
    structure = jax.tree.structure(task_arrays)
    update_with = optax.with_extra_args_support(optimizer).update

    def advance(
        state: TrainState, arrays: list[Array], num_steps: int, stage: int, stage_start: Any, stage_steps: Any
    ) -> tuple[TrainState, Metrics]:
        whole_task: AbstractTask = eqx.combine(jax.tree.unflatten(structure, arrays), task_static)

        def take_step(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
            phase = Phase(stage, (state.step - stage_start) / stage_steps, jnp.exp(state.log_multiplier))

            def loss(parameters: Any, key: Key) -> tuple[Array, Metrics]:
                return whole_task.loss(combine_trainable(parameters, rest), key, phase)

            (value, metrics), gradient = _mean_gradient(loss, state.parameters, step_key(state), settings.accumulate)
            norm = optax.tree.norm(gradient)
            is_fine = jnp.isfinite(value) & jnp.isfinite(norm)
            updates, optimizer_state = update_with(
                gradient,
                state.optimizer,
                state.parameters,
                value=value,
                grad=gradient,
                value_fn=lambda parameters: loss(parameters, step_key(state))[0],
            )
            parameters = optax.apply_updates(state.parameters, updates)
            log_multiplier = state.log_multiplier
            if settings.nfe_budget is not None:
                evals, rate = metrics["num_evals"], settings.budget_rate
                followed = update_multiplier(log_multiplier, evals, settings.nfe_budget, rate)
                # A stage that solves nothing, such as collocation, says nothing of the budget.
                log_multiplier = jnp.where(evals > 0, followed, log_multiplier)
            if settings.constraint_rate is not None:
                log_multiplier = tighten_constraint(log_multiplier, metrics["error_loss"], settings.constraint_rate)
            moved = TrainState(
                state.step,
                parameters,
                optimizer_state,
                _average(state, parameters, settings.ema_decay),
                state.key,
                log_multiplier,
            )
            state = tree_where(is_fine, moved, state)
            counted = {"loss": value, "gradient_norm": norm, "skipped_share": 1.0 - is_fine, **metrics}
            if settings.nfe_budget is not None or settings.constraint_rate is not None:
                counted["multiplier"] = phase.multiplier
            return eqx.tree_at(lambda s: s.step, state, state.step + 1), counted

        return lax.scan(take_step, state, None, length=num_steps)

    return advance


def _mean_gradient(
    loss: Callable[[Any, Key], tuple[Array, Metrics]], parameters: Any, key: Key, num_batches: int
) -> tuple[tuple[Array, Metrics], Any]:
    """Loss, metrics and gradient, each the mean over `num_batches` batches, one after the other."""
    value_and_gradient = jax.value_and_grad(loss, has_aux=True)
    if num_batches == 1:
        return value_and_gradient(parameters, key)

    def add(total: Any, key: Key) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, value_and_gradient(parameters, key)), None

    keys = jax.random.split(key, num_batches)
    shapes = jax.eval_shape(value_and_gradient, parameters, keys[0])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, _ = lax.scan(add, zeros, keys)
    return jax.tree.map(lambda leaf: leaf / num_batches, total)


def _average(state: TrainState, parameters: Any, decay: float | None) -> Any:
    """The moving average with new parameters in it."""
    if decay is None:
        return None
    num_steps = state.step.astype(float)
    decay_now = jnp.minimum(decay, (1 + num_steps) / (10 + num_steps))
    return optax.incremental_update(parameters, state.average, 1 - decay_now)
