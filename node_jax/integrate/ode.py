"""`odeint`: solve an ordinary differential equation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from node_jax.adjoints import AbstractAdjoint, CheckpointedAdjoint
from node_jax.controllers import AbstractController, PIController
from node_jax.integrate.validate import as_derivative, as_state, as_times, check_parts
from node_jax.solution import Solution
from node_jax.solvers import AbstractSolver, Tsit5
from node_jax.stepping import Problem
from node_jax.types import Args, State, VectorField

_DEFAULT_SOLVER = Tsit5()
_DEFAULT_CONTROLLER = PIController()
_DEFAULT_ADJOINT = CheckpointedAdjoint()


def odeint(
    field: VectorField,
    y0: State,
    ts: Any,
    args: Args = None,
    *,
    solver: Any = _DEFAULT_SOLVER,
    controller: AbstractController = _DEFAULT_CONTROLLER,
    adjoint: AbstractAdjoint = _DEFAULT_ADJOINT,
    max_steps: int = 4096,
) -> Solution:
    r"""Solve dy/dt = field(t, y, args) from y(ts[0]) = y0, and return y at every time in `ts`.

    The call is compiled; wrap it in your own `jax.jit`, `jax.grad` or `jax.vmap` as you like. Gradients flow to `y0`,
    `ts`, `args`, the arrays of `field`, and to arrays that a plain function closes over. They are exact for the steps
    that were taken: step sizes are constants of the gradient.

    Arguments:
        field: `field(t, y, args) -> dy/dt`, an Equinox module or a plain function; dy/dt has the structure and shapes
            of `y`. As under any `jax.jit`, a plain function is read once: change what it depends on through `args`, not
            by assigning to a variable or an attribute that it reads.
        y0: initial state, a pytree of floating-point arrays.
        ts: times of shape (time,), `ts[0]` the initial one; sorted in either direction, repeats allowed (they repeat
            the output and cost nothing). Outputs are interpolated and do not limit the step size.
        args: anything else the field needs. Python floats in it become arrays, so that a new value does not compile
            anew; integers, strings and functions stay as they are, and a new value of those does.
        solver: `nj.Tsit5()`, `nj.RK4()` or another of ours, or any diffrax solver, which then runs in diffrax through
            the same call.
        controller: `nj.PIController(rtol, atol)` for adaptive steps, `nj.ConstantStep(dt)` for steps of one size.
        adjoint: how the gradient is computed; `nj.CheckpointedAdjoint()`.
        max_steps: bound on attempted steps. The backward pass keeps this many states.

    Returns:
        A `Solution`: `ys[i]` is y(ts[i]), `status` says how it ended (see `nj.check`), `stats` what it cost.

    Raises:
        ValueError, TypeError: for shapes, dtypes, times or parts that cannot work, before anything is compiled. A
            failure at run time is a status, with NaN in the rows that were not reached.

    Reference: Chen et al. (2018), arXiv:1806.07366.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> sol = nj.odeint(lambda t, y, args: -args * y, jnp.array([1.0]), jnp.linspace(0, 1, 5), 2.0)
        >>> bool(abs(nj.check(sol).ys[-1, 0] - jnp.exp(-2.0)) < 1e-4)
        True
    """
    if not callable(field):
        raise TypeError(f"odeint: expected field to be callable as field(t, y, args), got {type(field).__name__}.")
    if getattr(type(field), "__hash__", None) is None:
        raise TypeError(
            f"odeint: expected field to be an Equinox module or hashable, got {type(field).__name__}, which cannot be "
            "a key of the compilation cache. Derive it from eqx.Module instead of using @dataclass."
        )
    check_parts(solver, controller, adjoint, max_steps)
    times = as_times(ts)
    state = as_state(y0)
    numbers = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, args)
    controller = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, times.dtype) if isinstance(leaf, (int, float)) else leaf, controller
    )
    return _solve(field, state, times, numbers, solver, controller, adjoint, int(max_steps))


@eqx.filter_jit
def _solve(
    field: VectorField,
    y0: State,
    ts: jax.Array,
    args: Args,
    solver: Any,
    controller: AbstractController,
    adjoint: AbstractAdjoint,
    max_steps: int,
) -> Solution:
    if not isinstance(solver, AbstractSolver):
        # diffrax is imported only by those who use it: it doubles the time `import node_jax` takes.
        from node_jax.integrate.diffrax_backend import solve_with_diffrax

        return solve_with_diffrax(field, y0, ts, args, solver, controller, adjoint, max_steps)

    def derivative(t: jax.Array, y: State) -> State:
        return as_derivative(field(t, y, args), y)

    # The converted field is a pytree whose leaves are all arrays that `field` and `args` read or close over, so that
    # the gradient rule sees them. Leaves that are Python numbers become arrays, else their gradient would be lost.
    converted = eqx.filter_closure_convert(derivative, ts[0], y0)
    converted = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, (float, complex)) else leaf, converted)
    result = adjoint.solve(Problem(converted, y0, ts, solver, controller, max_steps=max_steps))
    return Solution(ts, result.ys, result.status, result.stats)
