"""The multilayer perceptron as a vector field."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractField
from node_jax.fields.checks import check_sizes
from node_jax.fields.dropout import Dropout
from node_jax.fields.inputs import control_at
from node_jax.fields.network import draw_layers
from node_jax.fields.states import as_vectors
from node_jax.types import Key


class MLP(AbstractField):
    r"""dy/dt = scale W_L σ(... σ(W_1 [y, t, u] + b_1) ...) + b_L, with `depth` hidden layers.

    Weights are drawn as in Glorot & Bengio (2010); biases start at 0. `final_scale` below 1 starts near a field that
    is zero, which keeps the first solves cheap.

    Arguments:
        dim: size of the last axis of the state. Axes before it are batch axes.
        width: size of each hidden layer.
        depth: number of hidden layers; 0 is an affine field.
        activation: σ, elementwise. A smooth one suits an adaptive solver.
        is_time_dependent: whether t is an input beside y (concatenated); otherwise the field is autonomous.
        num_controls: size of a control u, an input beside y where it is positive: `args` are then an array of shape
            (num_controls,), a path such as `nj.interpolate.ZeroOrderHold`, or `None` for u = 0.
        final_scale: factor of the initial weights of the last layer.
        dropout: rate of a `Dropout` after each hidden activation; `draw_dropout` draws its masks. 0 is none.
        key: random key of the initial weights.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.MLP(dim=2, width=64, depth=2, key=jax.random.key(0))
        >>> field(0.0, jnp.ones(2), None).shape
        (2,)
    """

    weights: tuple[Float[Array, "out inp"], ...]
    biases: tuple[Float[Array, " out"], ...]
    dim: int = eqx.field(static=True)
    activation: Callable[[Array], Array] = eqx.field(static=True)
    is_time_dependent: bool = eqx.field(static=True)
    num_controls: int = eqx.field(static=True)
    dropouts: tuple[Dropout, ...] | None = None
    """One a hidden layer, or none at all; not an empty tuple, over which a backward solve of diffrax stumbles."""

    def __init__(
        self,
        dim: int,
        width: int,
        depth: int,
        *,
        activation: Callable[[Array], Array] = jax.nn.softplus,
        is_time_dependent: bool = False,
        num_controls: int = 0,
        final_scale: float = 1.0,
        dropout: float = 0.0,
        key: Key,
    ) -> None:
        check_sizes("MLP", dim=(dim, 1), width=(width, 1), depth=(depth, 0), num_controls=(num_controls, 0))
        self.dim = dim
        self.activation = activation
        self.is_time_dependent = is_time_dependent
        self.num_controls = num_controls
        self.dropouts = (Dropout(dropout, (width,)),) * depth if dropout != 0 else None
        sizes = [dim + is_time_dependent + num_controls, *[width] * depth, dim]
        self.weights, self.biases = draw_layers(sizes, final_scale, key)

    def __call__(self, t: Any, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch dim"]:
        """The derivative at (t, y); `args` are the control, where there is one."""
        x = y = as_vectors("MLP", y, self.dim)
        if self.is_time_dependent:
            time = jnp.broadcast_to(jnp.asarray(t, y.dtype), (*y.shape[:-1], 1))
            x = jnp.concatenate([x, time], axis=-1)
        if self.num_controls:
            x = jnp.concatenate([x, control_at("MLP", t, args, self.num_controls, y)], axis=-1)
        for i, (weight, bias) in enumerate(zip(self.weights[:-1], self.biases[:-1], strict=True)):
            # In this order the layers of all stages of a solver's step are the same kernel to XLA, compiled once.
            x = self.activation(bias + x @ weight.T)
            if self.dropouts:
                x = self.dropouts[i](x)
        return x @ self.weights[-1].T + self.biases[-1]
