"""The vocabulary of the signatures: time, state, arguments, field, key.

Axis names inside jaxtyping annotations are words: `batch`, `time`, `dim`, `stage`.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

Time: TypeAlias = Float[Array, ""]
"""A scalar time, in the unit the field was written for."""

State: TypeAlias = PyTree[Array]
"""The state y: a pytree of floating-point arrays."""

Args: TypeAlias = PyTree[Any]
"""Whatever else the field needs: parameters, constants, controls."""

VectorField: TypeAlias = Callable[[Any, Any, Any], State]
"""`field(t, y, args) -> dy/dt`, with the structure and shapes of `y`."""

BoundField: TypeAlias = Callable[[Any, Any], State]
"""`field(t, y) -> dy/dt`: a field whose `args` are bound."""

Key: TypeAlias = PRNGKeyArray
"""A JAX pseudo-random key, as `jax.random.key(seed)` makes it."""
