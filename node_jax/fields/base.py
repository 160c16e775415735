"""The interface of a vector field."""

import abc
from typing import Any

import equinox as eqx

from node_jax.types import State


class AbstractField(eqx.Module):
    """dy/dt = f(t, y, args). Any callable with this signature serves as a field; a module carries its parameters."""

    @abc.abstractmethod
    def __call__(self, t: Any, y: Any, args: Any) -> State:
        """The derivative, with the structure, shapes and (floating-point) kind of `y`."""
