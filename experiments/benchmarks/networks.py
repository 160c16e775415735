"""The neural fields of the benchmarks: networks that already move like an oscillator.

A network with random weights sends its states away along straight lines, which a solver does in a few steps. These are
fitted to a known field first, so that a solve takes as many steps as in the middle of a training run.
"""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax

import node_jax as nj
from experiments.benchmarks.problems import van_der_pol

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"tanh": jax.nn.tanh, "softplus": jax.nn.softplus}
_BOX = 4.0
"""States of the oscillator stay well within this."""


@functools.cache
def oscillating_mlp(activation: str = "tanh", width: int = 64, num_steps: int = 600) -> nj.fields.MLP:
    """An MLP 2-width-width-2 fitted to van der Pol's oscillator by least squares, the same on every call."""
    key_model, key_data = jax.random.split(jax.random.key(0))
    field = nj.fields.MLP(dim=2, width=width, depth=2, activation=ACTIVATIONS[activation], key=key_model)
    states = jax.random.uniform(key_data, (1024, 2), minval=-_BOX, maxval=_BOX)
    targets = jax.vmap(lambda y: van_der_pol(jnp, 0.0, y))(states)
    parameters, static = eqx.partition(field, eqx.is_inexact_array)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, num_steps))

    def loss(parameters: Any) -> Any:
        return jnp.mean((eqx.combine(parameters, static)(0.0, states, None) - targets) ** 2)

    def update(carry: Any, _: None) -> tuple[Any, None]:
        parameters, state = carry
        updates, state = optimizer.update(jax.grad(loss)(parameters), state)
        return (optax.apply_updates(parameters, updates), state), None

    @jax.jit
    def fit(parameters: Any) -> Any:
        return lax.scan(update, (parameters, optimizer.init(parameters)), None, num_steps)[0][0]

    return eqx.combine(fit(parameters), static)


def start_states(batch: int = 128) -> jax.Array:
    """Starts around the limit cycle, shape (batch, 2)."""
    return 2.0 * jax.random.normal(jax.random.key(1), (batch, 2)).clip(-1.5, 1.5)
