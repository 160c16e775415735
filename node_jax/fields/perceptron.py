"""The multilayer perceptron as a part of fields: a function of one vector, of another size."""

from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.types import Key


class Perceptron(eqx.Module):
    r"""x -> scale W_L σ(... σ(W_1 x + b_1) ...) + b_L, for the last axis of x.

    Arguments:
        sizes: of the input, of each hidden layer and of the output.
        activation: σ, elementwise.
        final_scale: factor of the initial weights of the last layer.
        key: random key of the initial weights; see `draw_layers`.
    """

    weights: tuple[Float[Array, "out inp"], ...]
    biases: tuple[Float[Array, " out"], ...]
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: Callable[[Array], Array] = jax.nn.softplus,
        final_scale: float = 1.0,
        key: Key,
    ) -> None:
        self.weights, self.biases = draw_layers(sizes, final_scale, key)
        self.activation = activation

    def __call__(self, x: Float[Array, "*batch inp"]) -> Float[Array, "*batch out"]:
        """The output at x."""
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = self.activation(x @ weight.T + bias)
        return x @ self.weights[-1].T + self.biases[-1]


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


def require_sizes(owner: str, sizes: Mapping[str, tuple[object, int]]) -> None:
    """Raise `ValueError` unless each size is an integer of at least its bound.

    Arguments:
        owner: who asks, the first word of the message.
        sizes: (value, bound) by name.
    """
    for name, (value, least) in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{owner}: expected {name} to be an integer of at least {least}, got {value!r}.")
