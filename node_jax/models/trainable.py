"""Which arrays of a model an optimizer may touch."""

from typing import Any

import equinox as eqx
import jax


class Constant(eqx.Module):
    """A part of a model whose arrays are saved with it and never trained, such as the scaling of its inputs."""


def partition_trainable(model: Any) -> tuple[Any, Any]:
    """Split a model into its trainable arrays and the rest.

    Trainable are the floating-point arrays outside every `Constant`. `combine_trainable` joins the two again.
    """
    wanted = jax.tree.map(
        lambda node: False if isinstance(node, Constant) else eqx.is_inexact_array(node),
        model,
        is_leaf=lambda node: isinstance(node, Constant),
    )
    return eqx.partition(model, wanted)


def combine_trainable(parameters: Any, rest: Any) -> Any:
    """The model that `partition_trainable` split."""
    return eqx.combine(parameters, rest)
