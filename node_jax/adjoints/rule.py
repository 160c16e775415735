"""A time loop as a function with a gradient rule of its own: what all reverse rules have in common."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from node_jax.adjoints.forward_only import forward_only
from node_jax.adjoints.products import with_fast_products
from node_jax.events import Jumps
from node_jax.interpolate.dense import DensePath
from node_jax.stepping import LoopResult, Problem
from node_jax.tree import tree_freeze, tree_where_rows
from node_jax.types import BoundField, State

_NO_SECOND_REVERSE = (
    "odeint: the gradient of this adjoint can be differentiated in forward mode (jax.hessian, or jax.jacfwd and "
    "jax.jvp of a function with jax.grad in it), not by another jax.grad. Use one of those, or "
    "adjoint=nj.DirectAdjoint() for derivatives in any order."
)


class Solved(NamedTuple):
    """What a backward pass starts from."""

    problem: Problem
    record: Any
    """What the forward pass left."""
    parameters: list[Array]
    """The arrays of field and jumps that are differentiated."""
    dynamics_with: Callable[[list[Array]], tuple[BoundField, Jumps | None]]
    """Field and jumps with these arrays in place of `parameters`."""
    places: tuple[int, ...]
    """Which leaves of field and jumps `parameters` are."""
    wants_times: bool
    """Whether `ts` is differentiated."""
    rows: State
    """Cotangents of `ys`, zero in rows that were not reached."""
    path: DensePath | None
    """Cotangent of the dense path; `None` if nothing depends on it."""
    costs: dict[str, Float[Array, ""]]
    """Cotangents of the costs."""

    def field_with(self, parameters: list[Array]) -> BoundField:
        """The field with these arrays in place of `parameters`."""
        return self.dynamics_with(parameters)[0]


class Gradient(NamedTuple):
    """What a backward pass ends with."""

    y0: State
    parameters: list[Array]
    ts: Float[Array, " time"] | None


def solve_with_rule(
    problem: Problem,
    run: Callable[[Problem, bool | None], tuple[LoopResult, Any]],
    pull_back: Callable[[Solved], Gradient],
) -> LoopResult:
    """`run(problem, ...)[0]`, differentiated by `pull_back`.

    Only arrays that are perturbed get a cotangent. The rule holds no other `custom_vjp`, so that forward mode over it
    works.

    Arguments:
        problem: the problem.
        run: `run(problem, wants_times)` returns the result and, if a gradient is asked for, the record. The flag says
            whether `ts` is differentiated; it is `None` where no gradient is asked for and no record is needed.
        pull_back: from a `Solved` to its `Gradient`.
    """
    inputs = (problem.dynamics, problem.y0, problem.ts)
    active, passive = eqx.partition(inputs, eqx.is_inexact_array)
    frame = dataclasses.replace(problem, field=None, jumps=None, y0=None, ts=None)
    arrays, static = eqx.partition((passive, frame), eqx.is_array)
    arrays = tree_freeze(arrays)

    def rebuild(active: Any, arrays: Any) -> Problem:
        passive, frame = eqx.combine(arrays, static)
        (field, jumps), y0, ts = eqx.combine(active, passive)
        return dataclasses.replace(frame, field=field, jumps=jumps, y0=y0, ts=ts)

    @jax.custom_vjp
    def solve(active: Any, arrays: Any) -> LoopResult:
        return with_fast_products(lambda: run(rebuild(active, arrays), None)[0])

    def forward(active: Any, arrays: Any) -> tuple[LoopResult, "_Residuals"]:
        is_perturbed = tuple(primal.perturbed for primal in jax.tree.leaves(active))
        active, arrays = jax.tree.map(lambda primal: primal.value, (active, arrays))
        result, record = with_fast_products(lambda: run(rebuild(active, arrays), is_perturbed[-1]))
        return result, _Residuals(active, arrays, record, result.num_saved, is_perturbed)

    def backward(residuals: "_Residuals", cotangent: LoopResult) -> tuple[Any, None]:
        pulled = with_fast_products(lambda: _backward(residuals, cotangent, rebuild, pull_back), is_transpose=True)
        return forward_only(pulled, _NO_SECOND_REVERSE), None

    solve.defvjp(forward, backward, symbolic_zeros=True)
    return solve(active, arrays)


class _Residuals(eqx.Module):
    active: Any
    arrays: Any
    record: Any
    num_saved: Array
    is_perturbed: tuple[bool, ...] = eqx.field(static=True)


def _backward(
    residuals: _Residuals,
    cotangent: LoopResult,
    rebuild: Callable[[Any, Any], Problem],
    pull_back: Callable[[Solved], Gradient],
) -> Any:
    """The cotangents of `residuals.active`; `None` where nothing asked for one."""
    problem = rebuild(residuals.active, residuals.arrays)
    leaves, treedef = jax.tree.flatten(residuals.active)
    num_field_leaves = len(jax.tree.leaves(residuals.active[0]))
    places = [i for i, leaf in enumerate(jax.tree.leaves(problem.dynamics)) if eqx.is_inexact_array(leaf)]
    wanted = [i for i in range(num_field_leaves) if residuals.is_perturbed[i]]

    def dynamics_with(parameters: list[Array]) -> tuple[BoundField, Jumps | None]:
        replaced = dict(zip(wanted, parameters, strict=True))
        active = jax.tree.unflatten(treedef, [replaced.get(i, leaf) for i, leaf in enumerate(leaves)])
        return rebuild(active, residuals.arrays).dynamics

    is_saved = jnp.arange(problem.ts.shape[-1]) < residuals.num_saved[..., None]
    rows = tree_where_rows(is_saved, _instantiate(cotangent.ys), 0)
    is_unused = all(_is_symbolic(leaf) for leaf in jax.tree.leaves(cotangent.path, is_leaf=_is_symbolic))
    gradient = pull_back(
        Solved(
            problem=problem,
            record=residuals.record,
            parameters=[leaves[i] for i in wanted],
            dynamics_with=dynamics_with,
            places=tuple(places[i] for i in wanted),
            wants_times=residuals.is_perturbed[-1],
            rows=rows,
            path=None if is_unused else _instantiate(cotangent.path),
            costs=_instantiate(cotangent.costs),
        )
    )
    cotangents: list[Any] = [None] * len(leaves)
    for i, bar in zip(wanted, gradient.parameters, strict=True):
        cotangents[i] = bar
    cotangents[num_field_leaves:] = [*jax.tree.leaves(gradient.y0), gradient.ts]
    return jax.tree.unflatten(treedef, cotangents)


def _is_symbolic(x: Any) -> bool:
    return isinstance(x, SymbolicZero)


def _instantiate(cotangent: Any) -> Any:
    """Symbolic zeros as arrays of zeros."""

    def fill(leaf: Any) -> Array:
        return jnp.zeros(leaf.aval.shape, leaf.aval.dtype) if _is_symbolic(leaf) else leaf

    return jax.tree.map(fill, cotangent, is_leaf=_is_symbolic)
