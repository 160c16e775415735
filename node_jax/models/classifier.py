"""A classifier: a vector, a flow, an affine map to the logits of its classes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields import AbstractField, Network
from node_jax.fields.checks import check_sizes
from node_jax.integrate import Integrator
from node_jax.models.scaling import Scaling
from node_jax.types import Key


class Classifier(eqx.Module):
    r"""logits(x) = head(z(end_time)),   dz/dt = field(t, z),   z(0) = (encoder(scaling(x)), 0).

    Without an encoder the flow starts at the point itself; `num_augmented` zeros give it room beside the data (Dupont
    et al. 2019, arXiv:1904.01681). The head is affine and sees all of z.

    Arguments:
        field: on states of size `state_dim`: that of a point, or `encoder_dim`, and `num_augmented` more.
        num_inputs, num_classes: sizes of a point and of the logits.
        integrator: how the field is solved.
        scaling: of the inputs; saved with the model, not trained. `None` takes them as they are.
        encoder_dim: size of an affine encoder's output; `None` is no encoder.
        num_augmented: zeros beside the data.
        end_time: of the flow, which starts at 0.
        key: random key of encoder and head.

    Raises:
        ValueError: for sizes that are none, and an end time that is not positive.

    Reference: Chen et al. (2018), Neural ordinary differential equations, arXiv:1806.07366.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.MLP(dim=5, width=16, depth=1, key=jax.random.key(0))
        >>> key = jax.random.key(1)
        >>> model = nj.models.Classifier(field, 2, 3, integrator=nj.Integrator(), num_augmented=3, key=key)
        >>> model(jnp.ones(2)).shape
        (3,)
    """

    field: AbstractField
    encoder: Network | None
    head: Network
    scaling: Scaling | None
    integrator: Integrator
    num_augmented: int = eqx.field(static=True)
    end_time: float = eqx.field(static=True)

    def __init__(
        self,
        field: AbstractField,
        num_inputs: int,
        num_classes: int,
        *,
        integrator: Integrator,
        scaling: Scaling | None = None,
        encoder_dim: int | None = None,
        num_augmented: int = 0,
        end_time: float = 1.0,
        key: Key,
    ) -> None:
        check_sizes("Classifier", num_inputs=(num_inputs, 1), num_classes=(num_classes, 2))
        if not end_time > 0:
            raise ValueError(f"Classifier: expected end_time > 0, got {end_time!r}.")
        key_encoder, key_head = jax.random.split(key)
        self.encoder = None if encoder_dim is None else _affine(num_inputs, encoder_dim, key_encoder)
        self.head = _affine(state_dim(num_inputs, encoder_dim, num_augmented), num_classes, key_head)
        # Read in compiled programs, which runs of different data share: arrays of JAX, so that each hands in its own.
        self.scaling = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), scaling)
        self.field, self.integrator = field, integrator
        self.num_augmented, self.end_time = num_augmented, end_time

    def start(self, x: Any) -> Float[Array, "*batch state"]:
        """z(0) for points of shape (*batch, num_inputs)."""
        x = jnp.asarray(x, float) if self.scaling is None else self.scaling.state_to_model(x)
        z = x if self.encoder is None else self.encoder(x)
        return jnp.concatenate([z, jnp.zeros((*z.shape[:-1], self.num_augmented), z.dtype)], axis=-1)

    @property
    def times(self) -> Float[Array, "2"]:
        """Start and end of the flow."""
        return jnp.array([0.0, self.end_time])

    def __call__(self, x: Any) -> Float[Array, " classes"]:
        """The logits of one point; NaN where its solve fails."""
        return self.head(self.integrator(self.field, self.start(x), self.times).ys[-1])


def state_dim(num_inputs: int, encoder_dim: int | None, num_augmented: int) -> int:
    """Size of the state of a `Classifier`."""
    encoder_size = 1 if encoder_dim is None else encoder_dim
    check_sizes("Classifier", num_augmented=(num_augmented, 0), encoder_dim=(encoder_size, 1))
    return (num_inputs if encoder_dim is None else encoder_dim) + num_augmented


def _affine(in_size: int, out_size: int, key: Key) -> Network:
    return Network(in_size, (out_size,), width=1, depth=0, key=key)
