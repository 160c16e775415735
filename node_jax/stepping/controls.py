"""Fields that read control inputs: paths through data among their arguments.

A field mostly asks for a control at the time at which it is called. Then the value is known before the call: the rest
of the field is a function of time, state and the values of its controls, and a gradient rule may treat these values as
inputs of their own instead of differentiating through all knots of a path.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from node_jax.interpolate import AbstractPath, ZeroOrderHold
from node_jax.interpolate.base import Known, Sample
from node_jax.types import Args, BoundField, State, Time


def paths_in(tree: PyTree) -> list[AbstractPath]:
    """All paths in a pytree, in the order of its leaves."""
    return [leaf for leaf in jax.tree.leaves(tree, is_leaf=_is_path) if _is_path(leaf)]


def _is_path(x: Any) -> bool:
    return isinstance(x, AbstractPath)


def jump_times(holds: Sequence[Array], direction: Time) -> Float[Array, " jump"] | None:
    """The knots of holds as the times at which a field jumps, in the order of the solve; `None` without any.

    Arguments:
        holds: the knots of each.
        direction: +1 forward in time, -1 backward.
    """
    if not holds:
        return None
    knots = jnp.concatenate([jnp.asarray(ts, direction.dtype).reshape(-1) for ts in holds])
    if len(holds) == 1 and jnp.ndim(holds[0]) == 1:
        ordered = jnp.where(direction > 0, knots, knots[::-1])
    else:
        ordered = jnp.sort(knots * direction) * direction
    return lax.stop_gradient(ordered)


def knots_of_holds(tree: PyTree) -> list[Array]:
    """The knots of every zero-order hold in a pytree."""
    return [path.ts for path in paths_in(tree) if isinstance(path, ZeroOrderHold)]


def with_known(args: Args, t: Time, samples: Sequence[Sample]) -> Args:
    """`args` whose paths know their value and slope at time t."""
    remaining = iter(samples)

    def put(leaf: Any) -> Any:
        if not _is_path(leaf):
            return leaf
        known = Known(t, next(remaining))
        return eqx.tree_at(lambda path: path.known, leaf, known, is_leaf=lambda x: x is None)

    return jax.tree.map(put, args, is_leaf=_is_path)


def are_read(jaxpr: Any, variables: Sequence[Any]) -> tuple[bool, ...]:
    """Whether each of these variables of a program is read in it, or is one of its results."""
    read = {id(var) for equation in jaxpr.eqns for var in equation.invars} | {id(var) for var in jaxpr.outvars}
    return tuple(id(var) in read for var in variables)


class Reads(NamedTuple):
    """What a field reads, as the static part of it."""

    leaves: tuple[bool, ...]
    """For each leaf of its arguments, whether it reads it. Of a path that is asked for its value at the time of the
    call alone, none is."""
    samples: tuple[Sample, ...]
    """For each path, whether its value and its slope at the time of the call are read."""

    @classmethod
    def of(cls, function: Callable[..., State], t: Time, y: State, args: Args, samples: Sequence[Sample]) -> "Reads":
        """What `function(t, y, args, samples)` reads."""
        if not samples:
            return cls((True,) * len(jax.tree.leaves(args)), ())
        dynamic, static = eqx.partition(args, eqx.is_array)

        def call(samples: list[Sample], dynamic: Args, t: Time, y: State) -> State:
            return function(t, y, eqx.combine(dynamic, static), samples)

        jaxpr = jax.make_jaxpr(call)(list(samples), dynamic, t, y).jaxpr
        flags = iter(are_read(jaxpr, jaxpr.invars))
        samples_read = jax.tree.map(lambda _: next(flags), list(samples))
        leaves_read = tuple(eqx.is_array(leaf) and next(flags) for leaf in jax.tree.leaves(args))
        parts = tuple(Sample(*(any(jax.tree.leaves(part)) for part in sample)) for sample in samples_read)
        return cls(leaves_read, parts)


class ControlledField(eqx.Module):
    """A field with its arguments, whose paths are evaluated before it is called.

    What `args` holds may have an axis of trajectories where what `function` holds has none.
    """

    function: Callable[[Time, State, Args, list[Sample]], State]
    args: Args
    reads: Reads = eqx.field(static=True)

    @classmethod
    def without_controls(cls, field: BoundField) -> "ControlledField":
        """A field that evaluates its paths itself, if it has any."""
        return cls(_Uncontrolled(field), None, Reads((), ()))

    @property
    def paths(self) -> list[AbstractPath]:
        """The paths among the arguments."""
        return paths_in(self.args)

    def __call__(self, t: Time, y: State) -> State:
        """dy/dt."""
        return self.given(t, y, [self.parts(i, path.sample(t)) for i, path in enumerate(self.paths)])

    def parts(self, i: int, sample: Sample) -> list[PyTree[Array]]:
        """What is read of a sample of path i: its value, its slope, both or nothing."""
        return [part for part, is_read in zip(sample, self.reads.samples[i], strict=True) if is_read]

    def given(self, t: Time, y: State, parts: Sequence[list[PyTree[Array]]]) -> State:
        """dy/dt for what is read of each path at time t."""

        def complete(i: int, path: AbstractPath) -> Sample:
            remaining = iter(parts[i])
            zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), path.values)
            return Sample(*(next(remaining) if is_read else zeros for is_read in self.reads.samples[i]))

        return self.function(t, y, self.args, [complete(i, path) for i, path in enumerate(self.paths)])


class _Uncontrolled(eqx.Module):
    field: BoundField

    def __call__(self, t: Time, y: State, args: Args, samples: list[Sample]) -> State:
        """dy/dt."""
        del args, samples
        return self.field(t, y)
