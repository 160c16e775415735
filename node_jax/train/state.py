"""Everything that training changes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, UInt32

from node_jax.models import partition_trainable
from node_jax.tasks import AbstractTask
from node_jax.types import Key


class TrainState(eqx.Module):
    """What a checkpoint holds. Every leaf is an array."""

    step: Int[Array, ""]
    """Optimizer steps done."""
    parameters: Any
    """The model's trainable arrays."""
    optimizer: Any
    """The optimizer's state."""
    key: UInt32[Array, "..."]
    """The data of the key from which each step's key is folded; it never changes."""


def init_state(task: AbstractTask, optimizer: optax.GradientTransformation, seed: int) -> tuple[TrainState, Any]:
    """A fresh state, and the part of the model that is not trained."""
    key_model, key_data = jax.random.split(jax.random.key(seed))
    parameters, rest = partition_trainable(task.init(key_model))
    state = TrainState(jnp.zeros((), jnp.int32), parameters, optimizer.init(parameters), jax.random.key_data(key_data))
    # Initial values may share a buffer (two zero biases), which a donated argument must not.
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state), rest


def step_key(state: TrainState) -> Key:
    """The key of this step: a function of the run's key and the step number, so that a resumed run draws the same."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)


def constants_of(rest: Any) -> list[np.ndarray]:
    """The arrays of the untrained part, which are saved with the model."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(rest) if eqx.is_array_like(leaf)]
