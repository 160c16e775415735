"""Turns what a user passes into arrays, or into an error that says what was expected, what came and the cure."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from node_jax.adjoints import AbstractAdjoint
from node_jax.controllers import AbstractController
from node_jax.errors import require_callable, require_count
from node_jax.events import Event, Jump
from node_jax.solvers import AbstractSolver
from node_jax.stepping.costs import COSTS
from node_jax.types import State


def as_times(ts: Any) -> jax.Array:
    """`ts` as a floating-point array of one axis, checked where its values are known."""
    try:
        numbers = as_real(ts)
    except ValueError as error:
        raise ValueError(
            "odeint: expected ts of shape (time,), got rows of different lengths. "
            "The times of many trajectories belong to nj.odeint_batch."
        ) from error
    if isinstance(numbers, np.ndarray):
        _check_sorted(numbers)
    times = jnp.asarray(ts)
    if times.ndim != 1 or times.shape[0] == 0:
        raise ValueError(
            f"odeint: expected ts of shape (time,) with at least the initial time in it, got shape {times.shape}. "
            "Write nj.odeint(field, y0, jnp.array([t0, t1])) for a start and an end."
        )
    return as_floating(times)


def as_real(ts: Any) -> np.ndarray | jax.Array:
    """`ts` as an array of real numbers: NumPy's where their values are known, else a traced one."""
    is_traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(ts))
    numbers = jnp.asarray(ts) if is_traced else np.asarray(ts)
    if numbers.dtype.kind not in "fiu" and numbers.dtype.name != "bfloat16":
        raise TypeError(f"odeint: expected ts to hold real numbers, got dtype {numbers.dtype}.")
    return numbers


def as_floating(ts: jax.Array) -> jax.Array:
    """`ts` in floating point."""
    return ts if jnp.issubdtype(ts.dtype, jnp.floating) else ts.astype(jnp.result_type(float))


def _check_sorted(ts: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(ts.reshape(-1).astype(float)))
    if bad.size:
        raise ValueError(
            f"odeint: expected finite times, got ts[{bad[0]}] = {ts.reshape(-1)[bad[0]]}. "
            "Drop rows with missing times, or pad by repeating the last time."
        )
    if ts.ndim == 1 and ts.size > 1:
        steps = np.diff(ts.astype(float))
        wrong = np.flatnonzero(steps < 0) if ts[-1] >= ts[0] else np.flatnonzero(steps > 0)
        if wrong.size:
            i = int(wrong[0])
            raise ValueError(
                "odeint: expected ts to be sorted, non-decreasing (or non-increasing for a solve backward in time), "
                f"got ts[{i}] = {ts[i]} before ts[{i + 1}] = {ts[i + 1]}. Sort the times, and the data with them."
            )


def as_state(y0: Any) -> State:
    """`y0` with every leaf a floating-point array."""
    leaves = jax.tree_util.tree_leaves_with_path(y0)
    for path, leaf in leaves:
        where = f"y0{jax.tree_util.keystr(path)}"
        try:
            dtype = jnp.result_type(leaf)
        except TypeError as error:
            raise TypeError(
                f"odeint: expected every leaf of the state to be an array, got {type(leaf).__name__} at {where}. "
                "Put what the field needs but does not integrate into args."
            ) from error
        if jnp.issubdtype(dtype, jnp.complexfloating):
            raise TypeError(
                f"odeint: expected a real state, got dtype {dtype} at {where}. Split it into real and imaginary parts, "
                "for example as a pair (y.real, y.imag)."
            )
        if not jnp.issubdtype(dtype, jnp.floating) and not isinstance(leaf, (int, float)):
            raise TypeError(
                f"odeint: expected a floating-point state, got dtype {dtype} at {where}. "
                "Write y0.astype(float), or jnp.array([1.0, 2.0]) instead of jnp.array([1, 2])."
            )
    if not leaves:
        raise ValueError("odeint: expected a state with at least one array, got an empty pytree.")

    def convert(leaf: Any) -> jax.Array:
        array = jnp.asarray(leaf)
        dtype = array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else jnp.result_type(float)
        # `astype` also drops the weak type, which would make the loop's carry change its type.
        return jax.lax.convert_element_type(array, dtype)

    return jax.tree.map(convert, y0)


def as_derivative(dy: Any, y: State) -> State:
    """The field's answer in the dtypes of the state, or an error that shows both trees."""
    expected, came = jax.tree.structure(y), jax.tree.structure(dy)
    if expected != came:
        raise ValueError(
            "odeint: expected the field to return dy/dt with the structure of the state.\n"
            f"  state:      {expected}\n  derivative: {came}\n"
            "The field is called as field(t, y, args), time first."
        )
    shapes = [(jax.tree_util.keystr(path), jnp.shape(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(y)]
    for (where, shape), leaf in zip(shapes, jax.tree.leaves(dy), strict=True):
        if jnp.shape(leaf) != shape:
            raise ValueError(
                f"odeint: expected the field to return dy/dt of shape {shape}, as the state{where} has it, got "
                f"{jnp.shape(leaf)}. The field is called as field(t, y, args), time first."
            )
        if jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating):
            raise TypeError(f"odeint: expected a real derivative, got dtype {jnp.result_type(leaf)} at dy{where}.")
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf).astype(like.dtype), dy, y)


def as_condition(value: Any) -> jax.Array:
    """What an event's condition returned, as a floating-point scalar."""
    is_array = isinstance(value, (int, float, np.generic, np.ndarray, jax.Array))
    if not is_array or jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        came = f"{jnp.result_type(value)} of shape {jnp.shape(value)}" if is_array else type(value).__name__
        raise ValueError(
            "odeint: expected an Event's condition to return a floating-point scalar that changes sign, got "
            f"{came}. Return a difference such as y[0] - threshold, not a comparison."
        )
    return jnp.asarray(value)


def as_after_jump(after: Any, y: State) -> State:
    """What a jump returned, in the dtypes of the state."""
    expected, came = jax.tree.structure(y), jax.tree.structure(after)
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(y)], [jnp.shape(leaf) for leaf in jax.tree.leaves(after)]
    if expected != came or shapes[0] != shapes[1]:
        raise ValueError(
            "odeint: expected a jump to return a state like the one before.\n"
            f"  before: {expected} of shapes {shapes[0]}\n  after:  {came} of shapes {shapes[1]}\n"
            "A jump is called as jump(t, y, args), time first."
        )
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf).astype(like.dtype), after, y)


def num_stops(events: tuple[Event | Jump, ...]) -> int:
    """How many steps events may take of their own: to end at each, and the jump."""
    counts = [np.size(event.times) if isinstance(event, Jump) else event.max_events for event in events]
    return 2 * sum(int(count) for count in counts)


def check_events(events: tuple[Event | Jump, ...], solver: Any, adjoint: AbstractAdjoint) -> None:
    """Solver and adjoint can do with what happens."""
    if not events:
        return
    if not isinstance(solver, AbstractSolver):
        raise ValueError(
            "odeint: events= is not available with a diffrax solver. Use a native solver such as nj.Tsit5()."
        )
    if not any(event.jump is not None for event in events):
        return
    if not solver.is_plain:
        raise ValueError(
            f"odeint: {type(solver).__name__} keeps more than the state, which a jump does not know. Use a Runge-Kutta "
            "method such as nj.Tsit5()."
        )
    if not adjoint.allows_jumps:
        raise ValueError(
            f"odeint: {type(adjoint).__name__} cannot differentiate a jump of the state. Use nj.CheckpointedAdjoint(), "
            "nj.DirectAdjoint() or nj.ForwardMode()."
        )


class Wanted(NamedTuple):
    """What a user asked for beside the values at the times."""

    record: tuple[str, ...]
    dense: bool
    steps: bool

    @classmethod
    def of(cls, record: Any, *, dense: Any = False, steps: Any = False) -> "Wanted":
        """From what was passed; one name may come without a tuple around it."""
        names = (record,) if isinstance(record, str) else record
        if not isinstance(names, (tuple, list)):
            raise TypeError(f"odeint: expected record to be a tuple of names out of {COSTS}, got {record!r}.")
        return cls(tuple(names), bool(dense), bool(steps))


def check_wanted(solver: Any, wanted: Wanted, save: Any) -> None:
    """The solver can give what is wanted."""
    unknown = [name for name in wanted.record if name not in COSTS]
    if unknown:
        raise ValueError(f"odeint: expected record to hold names out of {COSTS}, got {unknown[0]!r}.")
    if save is not None:
        require_callable("save", "save", save)
    if not isinstance(solver, AbstractSolver):
        for name, value in wanted._asdict().items():
            if value:
                raise ValueError(
                    f"odeint: {name}= is not available with a diffrax solver. Use a native solver such as nj.Tsit5(), "
                    "or ask for the times you need through ts."
                )
        return
    if "error" in wanted.record and not solver.has_error_estimate:
        raise ValueError(
            f"odeint: record='error' needs an error estimate, which {type(solver).__name__} does not have. "
            "Use a solver with an embedded method such as nj.Tsit5()."
        )
    if "stiffness" in wanted.record and not solver.has_stiffness_estimate:
        raise ValueError(
            f"odeint: record='stiffness' needs two stages at the end of a step, which {type(solver).__name__} does not "
            "have. Use nj.Tsit5() or nj.Dopri5()."
        )


def bound_steps(controller: AbstractController, ts: jax.Array, max_steps: int, num_extra: int) -> int:
    """`max_steps`, or the number of steps where it is known in advance, with `num_extra` for what cuts a step."""
    num_steps = controller.num_steps(ts.shape[0])
    if num_steps is None:
        return max_steps
    num_steps += num_extra
    if num_steps > max_steps:
        cuts = f" and {num_extra} more at knots of zero-order holds, jumps and events" if num_extra else ""
        raise ValueError(
            f"odeint: {controller} takes {num_steps} steps for {ts.shape[0]} times{cuts}, more than "
            f"max_steps={max_steps}. Write max_steps={num_steps}."
        )
    return num_steps


@contextlib.contextmanager
def errors_of(caller: str) -> Iterator[None]:
    """Errors raised within speak of `caller` instead of `odeint`."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not str(error).startswith("odeint:"):
            raise
        raise type(error)(str(error).replace("odeint:", f"{caller}:", 1)) from error


def explain_forward_mode(
    error: TypeError, cure: str = "adjoint=nj.ForwardMode(), or adjoint=nj.DirectAdjoint() for both"
) -> TypeError:
    """JAX's error about forward mode through a reverse rule, with the cure; another error as it is."""
    if "forward-mode" not in str(error) or "custom_vjp" not in str(error):
        return error
    return TypeError(
        "odeint: this adjoint gives reverse-mode gradients (jax.grad, jax.vjp), and forward mode over them "
        f"(jax.hessian), but no jax.jvp or jax.jacfwd of the solve itself. Use {cure}."
    )


def check_field(field: Any) -> None:
    """The field can be called, and can be a key of the compilation cache."""
    if isinstance(field, type):
        raise TypeError(
            f"odeint: expected field to be callable as field(t, y, args), got the class {field.__name__}. Fields are "
            f"values: write {field.__name__}(...) with its settings."
        )
    require_callable("field", "field", field)
    if getattr(type(field), "__hash__", None) is None:
        raise TypeError(
            f"odeint: expected field to be an Equinox module or hashable, got {type(field).__name__}, which cannot be "
            "a key of the compilation cache. Derive it from eqx.Module instead of using @dataclass."
        )


def check_parts(solver: Any, controller: Any, adjoint: Any, max_steps: Any) -> None:
    """Each part is of its kind, and solver and controller suit each other."""
    if not isinstance(controller, AbstractController):
        raise TypeError(
            "odeint: expected controller to be nj.PIController(...), nj.ConstantStep(dt) or nj.FixedSteps(n), "
            f"got {controller!r}."
        )
    if not isinstance(adjoint, AbstractAdjoint):
        raise TypeError(f"odeint: expected adjoint to be nj.CheckpointedAdjoint() or another, got {adjoint!r}.")
    require_count("odeint", "max_steps", max_steps)
    controller.validate()
    adjoint.validate()
    if isinstance(solver, AbstractSolver) and controller.is_adaptive and not solver.has_error_estimate:
        raise ValueError(
            f"odeint: {type(controller).__name__} needs an error estimate, which this solver does not have. "
            "Use a solver with an embedded method such as nj.Tsit5(), or controller=nj.ConstantStep(dt)."
        )
    if not isinstance(solver, AbstractSolver):
        hint = " Solvers are values: write nj.Tsit5() with parentheses." if callable(solver) else ""
        if not _is_diffrax_solver(solver):
            raise TypeError(
                f"odeint: expected solver to be a solver such as nj.Tsit5() or one of diffrax, got {solver!r}." + hint
            )


def _is_diffrax_solver(solver: Any) -> bool:
    """Whether `solver` is an instance of diffrax's solver class, asked without importing diffrax."""
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(solver).__mro__}
    return any(name.startswith("diffrax.") and name.endswith(".AbstractSolver") for name in names)
