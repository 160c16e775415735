"""The gradient for the paths that a batch of fields reads, without an array of all knots for each step.

The value of a path at one time depends on a few of its rows. In the transpose of a step these are gathered before, for
all evaluations of the step, and the values of the path there are tabulated; the step is differentiated for the table;
and what comes out is added to the rows that it belongs to. Of the number of knots the cost of a step depends on the
search among them alone.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from node_jax.adjoints.rule import Solved
from node_jax.interpolate import ZeroOrderHold
from node_jax.interpolate.base import Segment
from node_jax.stepping import Batch, Problem
from node_jax.stepping.attempt import inside
from node_jax.stepping.controls import ControlledField
from node_jax.types import BoundField, State, Time

Tables: TypeAlias = dict[int, list[PyTree[Array]]]
"""For each path, by its number, what the field reads of it at the nodes of a step; leaves (node, ...)."""


class RowBars(NamedTuple):
    """Cotangents of the rows of one path that a step depends on; leaves have leading axes (lane, node)."""

    where: Int[Array, "lane node row"]
    """Which rows."""
    segment: Segment
    times: Float[Array, "lane node"]
    """Of the times at which the path is evaluated."""


class ControlTables:
    """Tabulates the paths that are differentiated, and adds up what comes back for them.

    A path is tabulated where the solver says at which times a step evaluates the field, and a zero-order hold, which is
    constant within a step, in any case. The others, with stages in a loop, are differentiated as whole arrays, and so
    are all where the state jumps.

    Arguments:
        solved: the problem of all trajectories.
        batch: the same problem as a batch.
        with_slope: how the steps are taken; see `AbstractSolver.step`.
    """

    def __init__(self, solved: Solved, batch: Batch, *, with_slope: bool) -> None:
        self.batch = batch
        field = self.field = _field_of(batch.frame)
        leaves, treedef = jax.tree.flatten(field)
        numbered = jax.tree.unflatten(treedef, range(len(leaves)))
        calls = calls_of_step(batch.frame, with_slope) if numbered.paths else None
        self.nodes: dict[int, tuple[float, ...]] = {}
        """For each path that is tabulated, where in a step its rows are: 0 at the start, 1 at the end."""
        self.row_of_call: dict[int, tuple[int, ...] | None] = {}
        """Which row each call of the field reads in a step; `None` if there is but one."""
        self.places: dict[int, list[int]] = {}
        """Where the leaves of the path are among those of the field."""
        for i, path in enumerate(numbered.paths):
            is_hold, places = isinstance(path, ZeroOrderHold), jax.tree.leaves(path)
            is_known = (is_hold or calls) and batch.frame.jumps is None
            if any(field.reads.samples[i]) and set(places) & set(solved.places) and is_known:
                nodes = self.nodes[i] = (0.5,) if is_hold else tuple(sorted(set(calls or ())))
                self.row_of_call[i] = None if is_hold else tuple(nodes.index(node) for node in calls or ())
                self.places[i] = places
        tabulated = {place for mine in self.places.values() for place in mine}
        is_read = dict(zip(jax.tree.leaves(numbered.args), field.reads.leaves, strict=True))
        self.wanted = tabulated & set(solved.places)
        """Leaves that get a gradient through tables."""
        self.only_tabulated = {place for place in tabulated if not is_read[place]}
        """Leaves that the field does not read but through tables."""
        num_leaves = len(jax.tree.leaves(batch.frame.dynamics))
        self.rows_of_dynamics = [
            place < num_leaves and place not in self.only_tabulated
            for place, is_mapped in enumerate(batch.is_mapped)
            if is_mapped
        ]
        """Which of the batch's rows belong to field and jumps and are not only tabulated."""

    def tabulate(
        self, problem_rows: list[Array], t0: Array, t1: Array, stops: Array | None
    ) -> tuple[Tables, Callable[[Tables], dict[int, RowBars]]]:
        """The tables of a step from t0 to t1 in each lane, and their transpose."""

        def gather(problem: Problem, t0: Time, t1: Time, stops: Array | None) -> Any:
            seen = inside(problem, stops, lambda t, _: t, t0, t1)

            def at(i: int, node: Array) -> Any:
                t = seen(t0 + node * (t1 - t0), None)
                return *_field_of(problem).paths[i].segment(t), t

            return {i: jax.vmap(lambda node, i=i: at(i, node))(jnp.asarray(c, t0.dtype)) for i, c in self.nodes.items()}

        def read(gathered: dict[int, tuple[Segment, Array]]) -> Tables:
            def at(i: int, segment: Segment, t: Time) -> list[PyTree[Array]]:
                return self.field.parts(i, self.field.paths[i].read(segment, t))

            return {i: jax.vmap(jax.vmap(lambda s, t, i=i: at(i, s, t)))(*rows) for i, rows in gathered.items()}

        gathered = self.batch.map(gather, problem_rows, t0, t1, stops)
        tables, pull = jax.vjp(read, {i: (segment, times) for i, (_, segment, times) in gathered.items()})

        def pull_back(tables_bar: Tables) -> dict[int, RowBars]:
            return {i: RowBars(gathered[i][0], *bars) for i, bars in pull(tables_bar)[0].items()}

        return tables, pull_back

    def bind(self, field: ControlledField, shift: Time, tables: Tables) -> BoundField:
        """The field of one trajectory for one step, `shift` later, which reads from `tables` what is in them."""
        count = itertools.count()

        def bound(t: Time, y: Any) -> Any:
            call = next(count)

            def parts(i: int) -> list[PyTree[Array]]:
                if i in tables:
                    rows = self.row_of_call[i]
                    row = 0 if rows is None else rows[call]
                    return jax.tree.map(lambda leaf: leaf[row], tables[i])
                return field.parts(i, field.paths[i].sample(t + shift))

            return field.given(t + shift, y, [parts(i) for i in range(len(field.paths))])

        return bound

    def shift_of(self, rows: dict[int, RowBars]) -> Float[Array, " lane"] | float:
        """What a common shift of all times gets through the tables."""
        return sum((jnp.sum(bars.times, axis=1) for bars in rows.values()), 0.0)

    def add(
        self, bars: dict[int, Array], trajectory: Int[Array, " lane"], rows: dict[int, RowBars]
    ) -> dict[int, Array]:
        """`bars`, the gradients of whole leaves by place, with those of rows added.

        Arguments:
            bars: what was found so far.
            trajectory: which one each lane holds; what is beyond the last is dropped.
            rows: the gradients of a step.
        """
        bars = dict(bars)
        for i, found in rows.items():
            for place, bar in zip(self.places[i], jax.tree.leaves(found.segment), strict=True):
                if place in self.wanted:
                    own = (trajectory[:, None, None],) if self.batch.is_mapped[place] else ()
                    bars[place] = bars[place].at[(*own, found.where)].add(bar, mode="drop")
        return bars


def _field_of(problem: Problem) -> ControlledField:
    assert isinstance(problem.field, ControlledField)
    return problem.field


def calls_of_step(problem: Problem, with_slope: bool) -> tuple[float, ...] | None:
    """Where in a step each call of the field is, in their order; `None` if stages run in a loop or times are traced."""
    solver, times = problem.solver, []

    def record(t: Any, y: State) -> State:
        times.append(t)
        return y

    def step(z: State) -> State:
        start, length = cast(Any, 0.0), cast(Any, 1.0)
        f = solver.slope(lambda _, y: y, start, z) if problem.records_slope else None
        return solver.step(record, start, length, z, f, dense=problem.needs_dense, with_slope=with_slope).z1

    jax.eval_shape(step, jax.eval_shape(solver.start, problem.y0))
    return tuple(times) if all(isinstance(t, float) for t in times) else None
