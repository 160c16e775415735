"""A field in two parts, for methods that treat them differently."""

from typing import Any

import jax

from node_jax.fields.base import AbstractField
from node_jax.types import State, VectorField


class SplitField(AbstractField):
    """dy/dt = explicit(t, y, args) + implicit(t, y, args).

    Any solver takes it as the sum. Implicit-explicit methods of diffrax (`diffrax.KenCarp4()` and its relatives) step
    the second part, the stiff one, implicitly.

    Arguments:
        explicit: the part that is not stiff.
        implicit: the stiff part; cheap to solve with, for example linear.

    Reference: Kennedy & Carpenter (2003), doi:10.1016/S0168-9274(02)00138-1.
    """

    explicit: VectorField
    implicit: VectorField

    def __call__(self, t: Any, y: State, args: Any = None) -> State:
        """The sum of both parts at (t, y)."""
        return jax.tree.map(lambda a, b: a + b, self.explicit(t, y, args), self.implicit(t, y, args))
