"""node_jax as a contender: the one place that knows which solvers and adjoints this version has."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import node_jax as nj
from experiments.benchmarks.contender import Setting, Solve, Solved

_REVERSE_ADJOINTS = {
    "Checkpointed": "CheckpointedAdjoint",
    "Direct": "DirectAdjoint",
    "Reversible": "ReversibleAdjoint",
    "Backsolve": "BacksolveAdjoint",
    "Gauss": "GaussAdjoint",
}


def reverse_adjoints() -> dict[str, Any]:
    """Our adjoints for reverse mode, by name."""
    return {label: getattr(nj, name)() for label, name in _REVERSE_ADJOINTS.items() if hasattr(nj, name)}


def backward_methods() -> dict[str, Any]:
    """The adjoint that solves backward, by other methods than its own choice."""
    names = [name for name in ("Tsit5", "Bosh3") if hasattr(nj, name)]
    return {f"Backsolve by {name}": nj.BacksolveAdjoint(solver=getattr(nj, name)()) for name in names}


def forward_mode() -> Any | None:
    """The adjoint for `jax.jvp` of a solve, if there is one."""
    return nj.ForwardMode() if hasattr(nj, "ForwardMode") else None


def has_solver(name: str) -> bool:
    """Whether there is a solver of that name."""
    return hasattr(nj, name)


def end_evals(name: str, num_attempts: int) -> int:
    """Evaluations of a solve of so many attempts, with a first step that is given, for its end alone."""
    return 1 + num_attempts * getattr(nj, name)().num_evals(False)


def controller_of(setting: Setting) -> Any:
    """Equal steps, or PI control."""
    if setting.constant_dt is not None:
        return nj.ConstantStep(setting.constant_dt)
    return nj.PIController(rtol=setting.rtol, atol=setting.atol, dt0=setting.dt0)


def solve(
    field: Callable[..., Any],
    y0: Any,
    ts: Any,
    setting: Setting,
    final_only: bool = False,
    *,
    adjoint: Any = None,
    solver: Any = None,
) -> Solved:
    """`nj.odeint`; see `Solve`. `solver` replaces the setting's, and may be one of diffrax."""
    times = jnp.stack([ts[0], ts[-1]]) if final_only else ts
    solution = nj.odeint(
        field,
        y0,
        times,
        solver=solver or getattr(nj, setting.solver)(),
        controller=controller_of(setting),
        adjoint=adjoint or nj.CheckpointedAdjoint(),
        max_steps=setting.max_steps,
    )
    stats = solution.stats
    ys = solution.ys[-1:] if final_only else solution.ys
    return Solved(ys, stats.num_accepted, stats.num_rejected, stats.num_evals)


def solve_mapped(field: Callable[..., Any], y0: Any, ts: Any, setting: Setting, final_only: bool = False) -> Solved:
    """`solve` under `jax.vmap` over the first axis of `y0`: every row has its own steps."""
    solved = jax.vmap(lambda y: solve(field, y, ts, setting, final_only))(y0)
    return Solved(jnp.swapaxes(solved.ys, 0, 1), *solved[1:])


def solve_rows(field: Callable[..., Any], y0: Any, ts: Any, setting: Setting, final_only: bool = False) -> Solved:
    """`nj.odeint_batch`: every row has its own steps, in one loop."""
    times = jnp.stack([ts[0], ts[-1]]) if final_only else ts
    solution = nj.odeint_batch(
        field,
        y0,
        times,
        solver=getattr(nj, setting.solver)(),
        controller=controller_of(setting),
        max_steps=setting.max_steps,
    )
    ys = jnp.swapaxes(solution.ys, 0, 1)
    stats = solution.stats
    return Solved(ys[-1:] if final_only else ys, stats.num_accepted, stats.num_rejected, stats.num_evals)


def contenders() -> dict[str, Solve]:
    """Our ways to solve a batch: in the state, and with steps of their own for every row."""
    found: dict[str, Solve] = {"node_jax": solve, "node_jax, vmap": solve_mapped}
    if hasattr(nj, "odeint_batch"):
        found["node_jax, odeint_batch"] = solve_rows
    return found
