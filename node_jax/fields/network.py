"""The multilayer perceptron as a function, for the parts of structured fields."""

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.checks import check_sizes
from node_jax.types import Key


class Network(eqx.Module):
    r"""x ↦ W_L σ(... σ(W_1 x + b_1) ...) + b_L, with `depth` hidden layers.

    Weights are drawn as in Glorot & Bengio (2010); biases start at 0.

    Arguments:
        in_size: size of the last axis of x. Axes before it are batch axes.
        out_shape: shape of the result; `()` is a scalar.
        width: size of each hidden layer.
        depth: number of hidden layers; 0 is an affine function.
        activation: σ, elementwise; a smooth one where the function is differentiated to make a field.
        final_scale: factor of the initial weights of the last layer.
        key: random key of the initial weights.

    Raises:
        ValueError: for sizes that are no integers or too small.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> potential = nj.fields.Network(2, (), width=16, depth=2, key=jax.random.key(0))
        >>> potential(jnp.ones((5, 2))).shape
        (5,)
    """

    weights: tuple[Float[Array, "out inp"], ...]
    biases: tuple[Float[Array, " out"], ...]
    out_shape: tuple[int, ...] = eqx.field(static=True)
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_shape: tuple[int, ...],
        width: int,
        depth: int,
        *,
        activation: Callable[[Array], Array] = jnp.tanh,
        final_scale: float = 1.0,
        key: Key,
    ) -> None:
        check_sizes("Network", in_size=(in_size, 1), width=(width, 1), depth=(depth, 0))
        self.weights, self.biases = draw_layers([in_size, *[width] * depth, math.prod(out_shape)], final_scale, key)
        self.out_shape = out_shape
        self.activation = activation

    def __call__(self, x: Float[Array, "*batch inp"]) -> Float[Array, "..."]:
        """The function at x, of shape (*batch, *out_shape)."""
        batch = x.shape[:-1]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = self.activation(x @ weight.T + bias)
        return (x @ self.weights[-1].T + self.biases[-1]).reshape(*batch, *self.out_shape)


def draw_layers(
    sizes: Sequence[int], final_scale: float, key: Key
) -> tuple[tuple[Float[Array, "out inp"], ...], tuple[Float[Array, " out"], ...]]:
    """Weights and biases of layers: weights as in Glorot & Bengio (2010), biases 0.

    Arguments:
        sizes: of the input, of each hidden layer and of the output.
        final_scale: factor of the weights of the last layer.
        key: random key; each layer has its share.
    """
    draw = jax.nn.initializers.glorot_normal(in_axis=1, out_axis=0)
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    weights = [draw(k, shape) for k, shape in zip(jax.random.split(key, len(shapes)), shapes, strict=True)]
    weights[-1] = weights[-1] * final_scale
    return tuple(weights), tuple(jnp.zeros((out,)) for out, _ in shapes)
