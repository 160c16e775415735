"""Time in a network: a gate in every layer, or weights that are functions of time.

Time as one more input is `MLP(is_time_dependent=True)`.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractField
from node_jax.fields.checks import check_sizes, check_span
from node_jax.fields.network import draw_layers
from node_jax.fields.states import as_vectors
from node_jax.fields.time_bases import AbstractTimeBasis
from node_jax.types import Key, State, VectorField


class ConcatSquashMLP(AbstractField):
    r"""A multilayer perceptron whose every layer has a gate and a shift that follow time:

        x -> (W x + b) sigmoid(g t + h) + k t,

    then the activation, but after the last layer. Time can switch units off and on where `MLP(is_time_dependent=True)`
    only shifts those of the first layer. With g = k = 0 the field is autonomous.

    Arguments:
        dim, width, depth, activation, final_scale, key: as of `MLP`; g and k are drawn from N(0, 1/dim of the layer),
            h and b start at 0. The last layer's k is scaled by `final_scale` too.

    Raises:
        ValueError: for sizes that are none.

    Reference: Grathwohl et al. (2019), FFJORD, arXiv:1810.01367.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.ConcatSquashMLP(dim=2, width=16, depth=2, key=jax.random.key(0))
        >>> field(0.5, jnp.ones((7, 2)), None).shape
        (7, 2)
    """

    weights: tuple[Float[Array, "out inp"], ...]
    biases: tuple[Float[Array, " out"], ...]
    gates: tuple[Float[Array, "3 out"], ...]
    """g, h and k of each layer."""
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        width: int,
        depth: int,
        *,
        activation: Callable[[Array], Array] = jax.nn.softplus,
        final_scale: float = 1.0,
        key: Key,
    ) -> None:
        check_sizes("ConcatSquashMLP", dim=(dim, 1), width=(width, 1), depth=(depth, 0))
        sizes = [dim, *[width] * depth, dim]
        key_weights, key_gates = jax.random.split(key)
        self.weights, self.biases = draw_layers(sizes, final_scale, key_weights)
        scales = [1.0] * depth + [final_scale]
        self.gates = tuple(
            jax.random.normal(k, (3, out)) / jnp.sqrt(out) * jnp.array([[1.0], [0.0], [scale]])
            for k, out, scale in zip(jax.random.split(key_gates, depth + 1), sizes[1:], scales, strict=True)
        )
        self.activation = activation

    def __call__(self, t: Any, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch dim"]:
        """The derivative at (t, y); `args` is not used."""
        del args
        x = as_vectors("ConcatSquashMLP", y, self.biases[-1].size)
        t = jnp.asarray(t, x.dtype)
        for i, (weight, bias, (g, h, k)) in enumerate(zip(self.weights, self.biases, self.gates, strict=True)):
            x = (x @ weight.T + bias) * jax.nn.sigmoid(g * t + h) + k * t
            x = self.activation(x) if i < len(self.weights) - 1 else x
        return x


class GalerkinField(AbstractField):
    r"""A field with weights θ(t) = Σ_k θ_k φ_k(t): dy/dt = field(t, y, args; θ(t)).

    Any field serves: every floating-point leaf of it becomes an array of coefficients with a leading axis of basis
    functions. They start so that θ(t) is the field's own weights at all times. With one constant function it is that
    field.

    An evaluation combines num arrays of weights. Where each trajectory has a time of its own, as in `odeint_batch`,
    each has weights of its own at that moment; states with batch axes in one solve share them.

    Arguments:
        field: the field whose weights vary.
        basis: functions of time, such as `Polynomials(num, span=(t0, t1))`; num times as many parameters.

    Raises:
        TypeError: for a basis that is none.

    Reference: Massaroli et al. (2020), Dissecting neural ODEs, arXiv:2002.08071.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> mlp = nj.fields.MLP(dim=2, width=16, depth=1, key=jax.random.key(0))
        >>> field = nj.fields.GalerkinField(mlp, nj.fields.Fourier(num=3, span=(0.0, 24.0)))
        >>> bool(jnp.allclose(field(7.0, jnp.ones(2)), mlp(7.0, jnp.ones(2)), rtol=1e-5))
        True
    """

    coefficients: VectorField
    """The field with θ_k, k along the first axis, in place of its weights."""
    basis: AbstractTimeBasis

    def __init__(self, field: VectorField, basis: AbstractTimeBasis) -> None:
        if not isinstance(basis, AbstractTimeBasis):
            raise TypeError(
                f"GalerkinField: expected a basis such as nj.fields.Polynomials(num=3), got {type(basis).__name__}."
            )
        self.coefficients = _multiplied(field, basis.unit)
        self.basis = basis

    def at(self, t: Any) -> VectorField:
        """The field with its weights at time t."""
        return _combined(self.coefficients, self.basis(t))

    def __call__(self, t: Any, y: State, args: Any = None) -> State:
        """The derivative at (t, y)."""
        return self.at(t)(t, y, args)


class HyperField(AbstractField):
    r"""A field whose weights come from a network of time, a hypernetwork:

        dy/dt = field(t, y, args; θ(t)),        θ(t) = θ_0 + V h(t),

    with h(t) the last of `depth` hidden layers of `width` tanh units. It is `GalerkinField` with functions of time that
    are learned. θ_0 starts at the field's own weights and V at zero, so that it starts as the field itself.

    Arguments:
        field: the field whose weights vary; every floating-point leaf of it does.
        width: units of each hidden layer; the field has width + 1 times as many parameters.
        depth: number of hidden layers, at least 1.
        span: first and last time of interest, which the network sees as -1 and 1.
        key: random key of the hidden layers.

    Raises:
        ValueError: for sizes and spans that are none.

    Reference: Ha, Dai & Le (2017), HyperNetworks, arXiv:1609.09106; as the weights of a field: Grathwohl et al. (2019),
    arXiv:1810.01367.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> mlp = nj.fields.MLP(dim=2, width=16, depth=1, key=jax.random.key(0))
        >>> field = nj.fields.HyperField(mlp, width=4, key=jax.random.key(1))
        >>> nj.odeint(field, jnp.ones(2), [0.0, 1.0]).ys.shape
        (2, 2)
    """

    coefficients: VectorField
    """The field with θ_0 and the columns of V, along the first axis, in place of its weights."""
    weights: tuple[Float[Array, "out inp"], ...]
    biases: tuple[Float[Array, " out"], ...]
    span: tuple[float, float] = eqx.field(static=True)

    def __init__(
        self, field: VectorField, width: int, depth: int = 1, *, span: tuple[float, float] = (0.0, 1.0), key: Key
    ) -> None:
        check_sizes("HyperField", width=(width, 1), depth=(depth, 1))
        check_span("HyperField", span)
        self.coefficients = _multiplied(field, (1.0, *[0.0] * width))
        self.weights, biases = draw_layers([1, *[width] * depth], 1.0, key)
        # Spread over the span: with biases of 0 all units of the first layer would turn at its middle.
        self.biases = (-self.weights[0][:, 0] * jnp.linspace(-1.0, 1.0, width), *biases[1:])
        self.span = span

    def at(self, t: Any) -> VectorField:
        """The field with its weights at time t."""
        start, end = self.span
        x = jnp.asarray((2 * t - (start + end)) / (end - start), self.weights[0].dtype)[None]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = jnp.tanh(weight @ x + bias)
        return _combined(self.coefficients, jnp.concatenate([jnp.ones_like(x[:1]), x]))

    def __call__(self, t: Any, y: State, args: Any = None) -> State:
        """The derivative at (t, y)."""
        return self.at(t)(t, y, args)


def _multiplied(field: VectorField, factors: tuple[float, ...]) -> VectorField:
    """The field with factors ⊗ leaf in place of each floating-point leaf."""
    return jax.tree.map(
        lambda leaf: jnp.stack([factor * leaf for factor in factors]) if eqx.is_inexact_array(leaf) else leaf, field
    )


def _combined(coefficients: VectorField, functions: Float[Array, " num"]) -> VectorField:
    """The field with Σ_k functions_k leaf_k in place of each floating-point leaf."""
    return jax.tree.map(
        lambda leaf: jnp.tensordot(functions.astype(leaf.dtype), leaf, axes=1) if eqx.is_inexact_array(leaf) else leaf,
        coefficients,
    )
