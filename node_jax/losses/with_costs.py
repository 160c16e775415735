"""Solves with costs integrated beside the state."""

import dataclasses
from collections.abc import Mapping
from functools import reduce
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields import SplitField
from node_jax.integrate import Integrator
from node_jax.integrate.mapped import as_mapped
from node_jax.integrate.validate import as_derivative, as_state, check_field, errors_of
from node_jax.losses.integral_costs import AbstractIntegralCost
from node_jax.solution import Solution
from node_jax.solvers import AbstractSolver
from node_jax.status import Status
from node_jax.tree import WithIntegrals
from node_jax.types import Args, Key, State, Time, VectorField


def solve_with_costs(
    integrator: Integrator,
    field: VectorField,
    y0: State,
    ts: Any,
    args: Args = None,
    *,
    costs: Mapping[str, AbstractIntegralCost],
    record: tuple[str, ...] = (),
    key: Key | None = None,
) -> tuple[Solution, dict[str, Float[Array, ""]]]:
    r"""`integrator(field, y0, ts, args)`, and the costs ∫ r(t, y) |dt| from the first time to the last.

    Costs are more components of the state, whose slopes are their rates. No error norm counts them, nor does any other
    decision about steps: as long as they are finite, the solve takes the steps it would take without them. An attempt
    whose costs are not finite is rejected, as one is whose state is not.

    Arguments:
        integrator: solver, controller, adjoint and `max_steps`. Every adjoint serves; a solver of diffrax does too.
        field, y0, ts, args: as in `nj.odeint`.
        costs: by name, for example `{"kinetic": nj.losses.KineticEnergy()}`.
        record: names of sums over the solver's steps, "error" and "stiffness", which join the costs; see `nj.odeint`.
            They are those of the state alone.
        key: random key for costs that draw; a new one in each step of training. `None` takes the key of each cost.

    Returns:
        The solution for the state alone, and a scalar for each name, in float32 or the wider dtype of the state. It is
        positive backward in time too. Where a solve fails its integrals are NaN, as its last row is, and its records
        hold what came before: mask both as rows, `jnp.where(sol.status == nj.Status.success, cost, 0.0)`; the gradient
        is finite then.

    Raises:
        ValueError, TypeError: for costs and names that cannot work, and whatever `nj.odeint` raises.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> costs = {"kinetic": nj.losses.KineticEnergy()}
        >>> sol, found = nj.losses.solve_with_costs(
        ...     nj.Integrator(), lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], costs=costs
        ... )
        >>> bool(abs(found["kinetic"] - (1 - jnp.exp(-2.0)) / 2) < 1e-4)
        True
    """
    with errors_of("solve_with_costs"):
        check_field(field)
        names = _check(costs, record)
        state = as_state(y0)
        _check_solver(integrator.solver, field, state)
        drawn = {name: cost.draw(state, _key_of(cost, key, i)) for i, (name, cost) in enumerate(costs.items())}
        beside = FieldWithCosts(field, dict(costs))
        start = WithIntegrals(state, _zeros(costs, state))
        sol = integrator(beside, start, ts, Inputs(args, drawn), record=names)
    return _take_apart(sol)


def solve_batch_with_costs(
    integrator: Integrator,
    field: VectorField,
    y0s: State,
    ts: Any,
    args: Args = None,
    *,
    costs: Mapping[str, AbstractIntegralCost],
    record: tuple[str, ...] = (),
    key: Key | None = None,
    in_axes: Any = (0, None, None),
    lanes: int | None = None,
) -> tuple[Solution, dict[str, Float[Array, " batch"]]]:
    """`integrator.batch(field, y0s, ts, args)`, and the costs of each trajectory; see `solve_with_costs`.

    Arguments:
        integrator, costs, record: as in `solve_with_costs`.
        field, y0s, ts, args, in_axes, lanes: as in `nj.odeint_batch`.
        key: random key for costs that draw; every trajectory has draws of its own.

    Returns:
        The solution for the states alone, and for each name an array of shape (batch,).

    Raises:
        ValueError, TypeError: as `solve_with_costs` and `nj.odeint_batch`.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> costs = {"kinetic": nj.losses.KineticEnergy()}
        >>> sol, found = nj.losses.solve_batch_with_costs(
        ...     nj.Integrator(), lambda t, y, args: -y, jnp.ones((3, 1)), [0.0, 1.0], costs=costs
        ... )
        >>> found["kinetic"].shape
        (3,)
    """
    with errors_of("solve_batch_with_costs"):
        check_field(field)
        names = _check(costs, record)
        mapped = as_mapped(y0s, ts, args, in_axes)
        one = jax.tree.map(
            lambda leaf, has_axis: jnp.zeros(leaf.shape[1:], leaf.dtype) if has_axis else leaf,
            mapped.y0,
            mapped.is_y0_mapped,
        )
        _check_solver(integrator.solver, field, one)
        drawn = {
            name: _draw_for_all(cost, one, _key_of(cost, key, i), mapped.size)
            for i, (name, cost) in enumerate(costs.items())
        }
    axes = jax.tree.map(lambda has_axis: 0 if has_axis else None, (mapped.is_y0_mapped, mapped.is_args_mapped))
    sol = integrator.batch(
        FieldWithCosts(field, dict(costs)),
        WithIntegrals(mapped.y0, _zeros(costs, one)),
        mapped.ts,
        Inputs(mapped.args, drawn),
        in_axes=(WithIntegrals(axes[0], None), 0 if mapped.is_ts_mapped else None, Inputs(axes[1], 0)),
        lanes=lanes,
        record=names,
    )
    return _take_apart(sol)


class Inputs(NamedTuple):
    """What a field with costs reads beside time and state."""

    args: Args
    drawn: Any
    """What each cost drew, by name."""


class FieldWithCosts(eqx.Module):
    """d/dt of (y, costs): the field and the rates."""

    field: VectorField
    costs: dict[str, AbstractIntegralCost]

    def __call__(self, t: Time, state: WithIntegrals, inputs: Inputs) -> WithIntegrals:
        """The field at (t, y), and the rates there."""
        y, args = state.y, inputs.args
        slope = as_derivative(self.field(t, y, args), y)

        def field(t1: Time, y1: State, args1: Args) -> State:
            # A rate that wants the field where it has been evaluated shares the value.
            if t1 is t and y1 is y and args1 is args:
                return slope
            return as_derivative(self.field(t1, y1, args1), y1)

        # As functools.wraps has it, for rates that look into the field.
        field.__wrapped__ = self.field  # pyright: ignore[reportFunctionMemberAccess]
        rates = {
            name: _as_scalar(name, cost.rate(field, t, y, args, inputs.drawn[name]))
            for name, cost in self.costs.items()
        }
        return WithIntegrals(slope, rates)


def _as_scalar(name: str, rate: Any) -> Array:
    if jnp.shape(rate) != () or not jnp.issubdtype(jnp.result_type(rate), jnp.floating):
        raise ValueError(
            f"solve_with_costs: expected the rate of costs[{name!r}] to be a real scalar, got "
            f"{jnp.result_type(rate)} of shape {jnp.shape(rate)}. Sum or average it."
        )
    return jnp.asarray(rate)


def _check(costs: Any, record: Any) -> tuple[str, ...]:
    """The names of `record`, which differ from those of `costs`."""
    names = (record,) if isinstance(record, str) else tuple(record)
    if not isinstance(costs, Mapping):
        raise TypeError(
            f"solve_with_costs: expected costs to be a dict of costs by name, got {type(costs).__name__}. Write "
            'costs={"kinetic": nj.losses.KineticEnergy()}.'
        )
    for name, cost in costs.items():
        if not isinstance(cost, AbstractIntegralCost):
            hint = " Costs are values: write nj.losses.KineticEnergy() with parentheses." if callable(cost) else ""
            raise TypeError(
                f"solve_with_costs: expected costs[{name!r}] to be a cost such as nj.losses.KineticEnergy(), got "
                f"{cost!r}.{hint}"
            )
        if name in names:
            raise ValueError(
                f"solve_with_costs: expected names of costs that differ from those of record, got {name!r} in both. "
                "Give the cost another name."
            )
    return names


def _check_solver(solver: Any, field: VectorField, y0: State) -> None:
    """The solver can step a state with integrals beside it."""
    if not isinstance(solver, AbstractSolver):
        if isinstance(field, SplitField):
            raise ValueError(
                "solve_with_costs: a diffrax solver that treats the parts of a SplitField differently has no place for "
                "a cost beside them. Write their sum as a plain function, and use diffrax.Kvaerno5()."
            )
        return
    solver.check_state(y0)
    try:
        solver.check_state(WithIntegrals(y0, {}))
    except ValueError as error:
        raise ValueError(
            f"solve_with_costs: {type(solver).__name__} steps nothing but a pair (q, p), and has no place for a cost "
            "beside it. Use a Runge-Kutta method such as nj.Tsit5()."
        ) from error


def _key_of(cost: AbstractIntegralCost, key: Key | None, index: int) -> Key | None:
    """The key of one of several costs."""
    return cost.own_key if key is None else jax.random.fold_in(key, index)


def _draw_for_all(cost: AbstractIntegralCost, y0: State, key: Key | None, size: int) -> Any:
    """The draws of all trajectories, leaves with a leading axis."""
    if key is None:
        drawn = cost.draw(y0, None)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape)), drawn)
    return jax.vmap(lambda key: cost.draw(y0, key))(jax.random.split(key, size))


def _zeros(costs: Mapping[str, AbstractIntegralCost], y0: State) -> dict[str, Array]:
    dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(y0))
    return {name: jnp.zeros((), dtype) for name in costs}


def _take_apart(sol: Solution) -> tuple[Solution, dict[str, Array]]:
    """The solution for the state, and all costs at the last time."""
    ts, ys = sol.ts, sol.ys
    direction = jnp.where(ts[..., -1] < ts[..., 0], -1, 1)
    integrals = {name: direction.astype(leaf.dtype) * leaf[..., -1] for name, leaf in ys.integrals.items()}
    # A solver of diffrax does not look at them.
    is_finite = reduce(jnp.logical_and, [jnp.isfinite(leaf) for leaf in integrals.values()], jnp.asarray(True))
    status = jnp.where((sol.status == Status.success) & ~is_finite, Status.non_finite, sol.status)
    return dataclasses.replace(sol, ys=ys.y, status=status.astype(jnp.int32)), {**integrals, **sol.costs}
