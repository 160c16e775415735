"""What a time loop needs of a step-size controller."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PyTree

from node_jax.tree import tree_all_finite, tree_where_rows
from node_jax.types import State, Time


class Decision(NamedTuple):
    """What a controller makes of one attempted step."""

    accept: Bool[Array, ""]
    """Whether the step counts."""
    dt: Time
    """The signed size of the next attempt."""
    memory: PyTree
    """The controller's own memory."""
    error_ratio: Float[Array, ""]
    """The error in units of the tolerance, 0 from a controller that does not look at it; NaN or infinite where the end
    of the step is not finite."""
    is_stuck: Bool[Array, ""]
    """Whether the attempt was rejected and a smaller one is not allowed."""


def ends_of(ts: Float[Array, " time"]) -> tuple[Time, Time]:
    """The first and the last of the times, each of shape ()."""
    # Without a barrier the compiler carries the shape (1,) of a slice on into what is computed from it: an operation
    # further in each of its rounds over the whole program, of which it makes as many as it takes.
    return lax.optimization_barrier((ts[0], ts[-1]))


def direction_of(ts: Float[Array, " time"]) -> Time:
    """+1 for times that do not decrease, -1 for others, in the dtype of the times."""
    t0, t1 = ends_of(ts)
    one = jnp.ones((), ts.dtype)
    return lax.select(t1 < t0, -one, one)


def judge_times(ts: Float[Array, " time"], direction: Time) -> tuple[Bool[Array, ""], Int[Array, ""]]:
    """Whether times are finite and sorted in their `direction`, and how many of them are the first; 1 if not."""
    num_times = ts.shape[0]
    before, after = ts[:-1], ts[1:]
    steps = (after - before) * direction
    # NaN equals nothing.
    is_in_order = steps == lax.clamp(jnp.zeros((), ts.dtype), steps, jnp.finfo(ts.dtype).max)
    # One maximum for both: the number of the last time that is the first, or one that no time has.
    numbers = tree_where_rows(after == ts[0], jnp.arange(1, num_times, dtype=jnp.int32), 0)
    num_at_start = 1 + jnp.max(tree_where_rows(is_in_order, numbers, num_times), initial=0)
    is_valid = (num_at_start <= num_times) & jnp.isfinite(ts[0])
    return is_valid, lax.select(is_valid, num_at_start, jnp.int32(1))


def accept_what_is_finite(y1: State, dt: Time, memory: PyTree) -> Decision:
    """The decision of a controller that does not look at the error.

    Arguments:
        y1: the state at the end of the attempt.
        dt: signed size of the next attempt.
        memory: the controller's own.
    """
    is_finite = tree_all_finite(y1)
    error_ratio = jnp.where(is_finite, 0, jnp.nan).astype(dt.dtype)
    return Decision(is_finite, dt, memory, error_ratio, jnp.asarray(False))


class AbstractController(eqx.Module):
    """Chooses step sizes. Its numbers are array leaves by the time a loop sees them, so that another tolerance does
    not compile anew. No gradient flows through a controller: step sizes are constants of the gradient.
    """

    @property
    @abc.abstractmethod
    def is_adaptive(self) -> bool:
        """Whether it needs an error estimate."""

    @property
    @abc.abstractmethod
    def num_evals_first_step(self) -> int:
        """Field evaluations of `first_step`, beside the field at the start."""

    @abc.abstractmethod
    def validate(self) -> None:
        """Raise `ValueError` for values that cannot work; called before anything is traced."""

    def check_state(self, y0: State) -> None:
        """Raise `ValueError` for a state that does not fit the settings; called before anything is traced."""
        del y0

    @property
    def has_jumps(self) -> bool:
        """Whether the field may be discontinuous at the `stops`."""
        return False

    def num_steps(self, num_times: int) -> int | None:
        """How many steps it takes for so many times, beside those that something cuts; `None` if that is not known."""
        del num_times

    def stops(self, ts: Float[Array, " time"]) -> Float[Array, " stop"] | None:
        """Times between `ts[0]` and `ts[-1]` at which a step must end, in the order of the solve; `None` for none.

        Those outside are ignored.
        """
        del ts

    @abc.abstractmethod
    def first_step(
        self, field: Callable[[Time, State], State], ts: Float[Array, " time"], y0: State, f0: State, order: int
    ) -> tuple[Time, PyTree]:
        """The signed size of the first attempt, and the controller's memory."""

    @abc.abstractmethod
    def decide(
        self,
        memory: PyTree,
        ts: Float[Array, " time"],
        t1: Time,
        dt: Time,
        y0: State,
        y1: State,
        error: State | None,
        order: int,
    ) -> Decision:
        """Accept or reject an attempt of size `dt` from `y0` that ends at (t1, y1), and propose the next size."""


def require_positive(owner: str, name: str, value: Any, cure: str) -> None:
    """Raise `ValueError` unless a number is finite and positive; tracers pass. A tree is checked leaf by leaf."""
    leaves = jax.tree.leaves(value, is_leaf=lambda x: x is None)
    if len(leaves) != 1 or leaves[0] is not value:
        for leaf in leaves:
            require_positive(owner, name, leaf, cure)
        return
    if isinstance(value, (bool, str)) or value is None:
        raise ValueError(f"{owner}: expected {name} to be a number, got {value!r}; {cure}.")
    if isinstance(value, Tracer):
        return
    number = np.asarray(value, float)
    if not (np.isfinite(number) & (number > 0)).all():
        raise ValueError(f"{owner}: expected {name} to be finite and greater than 0, got {value!r}; {cure}.")


def require_scalar(owner: str, name: str, value: Any) -> None:
    """Raise `ValueError` unless `value` is one finite number; of a tracer only the shape is known."""
    if not isinstance(value, (int, float, np.number, np.ndarray, jax.Array)):
        raise ValueError(f"{owner}: expected {name} to be one number, got {value!r}.")
    if np.shape(value) != ():
        raise ValueError(f"{owner}: expected {name} to be one number, got shape {np.shape(value)}.")
    if not isinstance(value, Tracer) and not np.isfinite(np.asarray(value, float)):
        raise ValueError(f"{owner}: expected {name} to be finite, got {value!r}.")


def require_finite(owner: str, name: str, values: Any) -> None:
    """Raise `ValueError` unless every concrete number in `values` is finite; tracers pass."""
    for leaf in jax.tree.leaves(values, is_leaf=lambda x: x is None):
        if isinstance(leaf, str) or leaf is None:
            raise ValueError(f"{owner}: expected {name} to hold numbers, got {leaf!r}; leave out what never happens.")
        if not isinstance(leaf, Tracer) and not np.isfinite(np.asarray(leaf, float)).all():
            raise ValueError(f"{owner}: expected {name} to be finite, got {leaf!r}; leave out what never happens.")
