"""The interface of a vector field, and of fields that know something of themselves."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from node_jax.types import State


class AbstractField(eqx.Module):
    """dy/dt = f(t, y, args). Any callable with this signature serves as a field; a module carries its parameters."""

    @abc.abstractmethod
    def __call__(self, t: Any, y: Any, args: Any) -> State:
        """The derivative, with the structure, shapes and (floating-point) kind of `y`."""


class AbstractEnergyField(AbstractField):
    """A field with a scalar of the state that says something of its solutions: it is conserved, or it decreases."""

    @abc.abstractmethod
    def energy(self, y: Any, args: Any = None) -> Float[Array, "..."]:
        """The scalar at each state; batch axes of `y` are kept."""


class AbstractParametricField(AbstractField):
    """A field whose parameters mean something beyond it: rates, masses, frequencies."""

    @abc.abstractmethod
    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """Each parameter in its physical unit, by name: differentiable functions of the field's leaves."""
