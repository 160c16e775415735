"""The compiled program: several optimizer steps in one dispatch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from node_jax.models import combine_trainable
from node_jax.tasks import AbstractTask, Phase
from node_jax.train.state import TrainState, step_key

Advance = Callable[[TrainState, int], tuple[TrainState, dict[str, Array]]]


def make_advance(task: AbstractTask, optimizer: optax.GradientTransformation, rest: Any) -> Advance:
    """A function `advance(state, num_steps)` that takes `num_steps` optimizer steps in one jitted `lax.scan`.

    The state is donated. Metrics come back as arrays of shape (num_steps,).

    Arguments:
        task: its arrays are inputs of the program, not constants in it.
        optimizer: an Optax gradient transformation.
        rest: the untrained part of the model.
    """
    task_arrays, task_static = eqx.partition(task, eqx.is_array)

    @partial(jax.jit, static_argnames="num_steps", donate_argnames="state")
    def advance(state: TrainState, task_arrays: Any, num_steps: int) -> tuple[TrainState, dict[str, Array]]:
        whole_task: AbstractTask = eqx.combine(task_arrays, task_static)
        phase = Phase(0, jnp.zeros(()))

        def take_step(state: TrainState, _: None) -> tuple[TrainState, dict[str, Array]]:
            def loss(parameters: Any) -> tuple[Array, dict[str, Array]]:
                return whole_task.loss(combine_trainable(parameters, rest), step_key(state), phase)

            (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(state.parameters)
            updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.parameters)
            parameters = optax.apply_updates(state.parameters, updates)
            metrics = {"loss": value, "gradient_norm": optax.tree.norm(gradient), **metrics}
            return TrainState(state.step + 1, parameters, optimizer_state, state.key), metrics

        return lax.scan(take_step, state, None, length=num_steps)

    return lambda state, num_steps: advance(state, task_arrays, num_steps)
