"""Known mechanism plus what a network finds."""

from typing import Any

import jax

from node_jax.fields.base import AbstractField
from node_jax.types import State


class HybridField(AbstractField):
    """dy/dt = mechanism(t, y, args) + residual(t, y, args).

    The mechanism holds what is known, with its physical parameters as trainable leaves; the residual, usually an
    `MLP` that starts near zero, what is not. Also called a universal differential equation.

    Arguments:
        mechanism: any field; the derivative that theory gives.
        residual: a field on the same state; the correction.

    Reference: Rackauckas et al. (2020), arXiv:2001.04385.
    """

    mechanism: AbstractField
    residual: AbstractField

    def __call__(self, t: Any, y: State, args: Any = None) -> State:
        """The sum of both parts at (t, y)."""
        known = self.mechanism(t, y, args)
        found = self.residual(t, y, args)
        if jax.tree.structure(known) != jax.tree.structure(found):
            raise ValueError(
                "HybridField: expected mechanism and residual to return the same structure, got "
                f"{jax.tree.structure(known)} and {jax.tree.structure(found)}."
            )
        return jax.tree.map(lambda a, b: a + b, known, found)
