r"""The gradient for the parameters, for many evaluations of the field at once.

The way back needs ∂f/∂y of each stage before the next; what a stage gives to the parameters can wait:

    θ̄ = Σ_n Σ_i (∂f/∂θ (t_ni, y_ni))ᵀ k̄_ni,

with k̄_ni the whole cotangent of stage derivative i of step n. The walk over a chunk of steps leaves t, y and k̄ of every
stage behind, and one transpose of the field over all of them follows. The field is evaluated once more for it. On a CPU
that costs more than it saves; on a GPU, where a small kernel takes its launch's time, the many that a step has for the
parameters become a few for a chunk.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from node_jax.adjoints.lane_parameters import Parameters, ParameterSplit
from node_jax.stepping import Batch, Problem
from node_jax.stepping.batch import lend
from node_jax.tree import tree_add, tree_buffer, tree_size, tree_where_rows, tree_zeros
from node_jax.types import BoundField, State, Time

_ELEMENTS_AT_ONCE = 2**15
"""States of evaluations that are transposed together hold so many numbers: more would not be quicker, and take memory
for what the field computes."""
_RECORD_ELEMENTS = 2**24
"""What is left behind of a chunk holds no more numbers than this; else the gradient is not deferred."""


class Evaluations(NamedTuple):
    """Of the field; leaves have leading axes (lane, call), those of a chunk (step, lane, call)."""

    t: Float[Array, "*step lane call"]
    y: State
    slope_bar: State
    """Cotangents of the derivatives."""


class Deferral:
    """Takes the gradient for parameters after the steps of a chunk.

    Arguments:
        batch: the problems.
        split: their parameters, which are those of the field.
        num_calls: evaluations in a step, each a call by the solver itself: in no loop and under no transformation.
    """

    def __init__(self, batch: Batch, split: ParameterSplit, num_calls: int) -> None:
        self.batch, self.split, self.num_calls = batch, split, num_calls

    def fits(self, num_steps: int, num_lanes: int) -> bool:
        """Whether the evaluations of a chunk of so many steps may be kept."""
        return num_steps * num_lanes * self.num_calls * 2 * tree_size(self.batch.frame.y0) <= _RECORD_ELEMENTS

    def probes(self, num_lanes: int) -> State:
        """Zeros to add to the derivatives of a step in all lanes, with leading axes (lane, call)."""
        calls = (num_lanes, self.num_calls)
        return jax.tree.map(lambda leaf: jnp.zeros((*calls, *leaf.shape), leaf.dtype), self.batch.frame.y0)

    def room(self, num_steps: int, num_lanes: int) -> Evaluations:
        """Room for the evaluations of a chunk."""
        probes = self.probes(num_lanes)
        t = jnp.zeros((num_lanes, self.num_calls), self.batch.frame.ts.dtype)
        return tree_buffer(num_steps, Evaluations(t, probes, probes))

    def gradient(
        self, problem_rows: list[Array], found: Evaluations, is_active: Bool[Array, "step lane"]
    ) -> Parameters:
        """That of all evaluations of a chunk.

        Arguments:
            problem_rows: of the trajectories in the lanes.
            found: the evaluations.
            is_active: which steps count. In the others cotangents are zero, and times and states may be anything.
        """
        is_used, first = jnp.any(is_active, axis=0), jnp.argmax(is_active, axis=0)

        def settle(leaf: Array) -> Array:
            """In steps that do not count what the lane has in one that does, or else what another lane has."""
            mine = leaf[first, jnp.arange(leaf.shape[1])]
            return jax.vmap(lambda step: lend(is_used, step))(tree_where_rows(is_active, leaf, mine))

        t, y = jax.tree.map(settle, (found.t, found.y))
        num_steps = len(t)
        step_elements = max(1, tree_size(y) // num_steps)
        at_once = math.gcd(num_steps, 1 << max(0, (_ELEMENTS_AT_ONCE // step_elements).bit_length() - 1))

        def part(leaf: Array) -> Array:
            """Leading axes (part, lane, step, call)."""
            return jnp.swapaxes(leaf.reshape(num_steps // at_once, at_once, *leaf.shape[1:]), 1, 2)

        parameters = self.split.of(problem_rows)

        def add(total: Parameters, part: tuple[Array, State, State]) -> tuple[Parameters, None]:
            t, y, slope_bar = part
            _, pull = jax.vjp(lambda parameters: self._slopes(problem_rows, parameters, t, y), parameters)
            return tree_add(total, pull(slope_bar)[0]), None

        return lax.scan(add, tree_zeros(parameters), jax.tree.map(part, (t, y, found.slope_bar)))[0]

    def _slopes(self, problem_rows: list[Array], parameters: Parameters, t: Array, y: State) -> State:
        """Derivatives at times and states with leading axes (lane, step, call)."""

        def one(problem: Problem, own: list[Array], t: Array, y: State) -> State:
            field, _ = self.split.dynamics(problem, parameters._replace(own=own))
            return jax.vmap(jax.vmap(field))(t, y)

        return self.batch.map(one, problem_rows, parameters.own, t, y)


def probed(field: BoundField, probes: State) -> tuple[BoundField, Callable[[], tuple[Array, State]]]:
    """A field to whose derivatives zeros are added, that their cotangents may be read off as those of the zeros.

    Arguments:
        field: the field of one step.
        probes: zeros, one state for each call.

    Returns:
        The field, and a function that after the step returns the times and states of its calls.
    """
    calls: list[tuple[Time, State]] = []

    def watched(t: Time, y: State) -> State:
        probe = jax.tree.map(lambda leaf: leaf[len(calls)], probes)
        calls.append((t, y))
        return tree_add(field(t, y), probe)

    def seen() -> tuple[Array, State]:
        times, states = zip(*calls, strict=True)
        return jnp.stack(times), jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    return watched, seen
