"""The state of a run: all that a checkpoint holds."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt32

from node_jax.models import combine_trainable, partition_trainable
from node_jax.tasks import AbstractTask
from node_jax.types import Key


class TrainState(eqx.Module):
    """What the compiled step reads and writes. Every leaf is an array."""

    step: Int[Array, ""]
    """Optimizer steps done, those that were skipped included."""
    parameters: Any
    """The model's trainable arrays."""
    optimizer: Any
    """The optimizer's state."""
    average: Any
    """The moving average of the parameters; `None` without one."""
    key: UInt32[Array, "..."]
    """The data of the key from which each step's key is folded; it never changes."""
    log_multiplier: Float[Array, ""]
    """Logarithm of the multiplier of the regularizers, which holds the evaluations to their budget."""

    @property
    def best_parameters(self) -> Any:
        """The parameters to use: their average if there is one."""
        return self.parameters if self.average is None else self.average


class Standing(eqx.Module):
    """What the loop on the host knows beside the state."""

    best_loss: float = math.inf
    """The lowest loss at a checkpoint, of the data held out if there are any."""
    num_worse: int = 0
    """Checkpoints since then, in this stage."""
    stage: int = 0
    """Number of the stage of the curriculum."""
    stage_start: int = 0
    """Step at which it began."""
    is_done: bool = False
    """Whether training has ended, early or not."""


def init_state(
    task: AbstractTask, optimizer: optax.GradientTransformation, seed: int, has_average: bool = False
) -> tuple[TrainState, Any]:
    """A fresh state, and the part of the model that is not trained."""
    key_model, key_data = jax.random.split(jax.random.key(seed))
    parameters, rest = partition_trainable(task.init(key_model))
    state = TrainState(
        jnp.zeros((), jnp.int32),
        parameters,
        optimizer.init(parameters),
        parameters if has_average else None,
        jax.random.key_data(key_data),
        jnp.zeros(()),
    )
    # Initial values may share a buffer (two zero biases), which a donated argument must not.
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state), rest


def step_key(state: TrainState) -> Key:
    """The key of this step: a function of the run's key and the step number, so that a resumed run draws the same."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)


def model_of(state: TrainState, rest: Any) -> Any:
    """The model to use: with the average of the parameters if there is one."""
    return combine_trainable(state.best_parameters, rest)


def constants_of(rest: Any) -> list[np.ndarray]:
    """The arrays of the untrained part, which are saved with the model."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(rest) if eqx.is_array_like(leaf)]
