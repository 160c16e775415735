"""How everything here is measured: alternated runs, compile figures, the floor of a solve, and what the machine was."""

import datetime
import gc
import importlib.metadata
import itertools
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr

LONG_TURN = 0.1
"""Seconds of a turn in which several calls of a neural ODE find in the caches what they left there, as in training."""
_LONG_CALL = 1.0
"""Seconds of a first call that is not repeated only to know that a turn holds one."""
STAGES = 6
"""Of Tsit5, without the one that the next step shares."""
_PACKAGES = ("node_jax", "jax", "jaxlib", "equinox", "diffrax", "optax", "numpy", "scipy", "torch", "torchdiffeq")


@dataclass(frozen=True)
class Timing:
    """Seconds of one call of one side, and its ratio to the first side, paired by round."""

    median: float
    lower: float
    upper: float
    ratio: float
    ratio_lower: float
    ratio_upper: float

    def ratio_text(self, factor: float = 1.0) -> str:
        """The median ratio times `factor`, with its quartiles."""
        values = (self.ratio, self.ratio_lower, self.ratio_upper)
        return "{:.2f} ({:.2f} to {:.2f})".format(*(factor * value for value in values))


@dataclass(frozen=True)
class CompileFigures:
    """What it takes to get a program, and how large it is."""

    trace: float
    lower: float
    compile: float
    num_equations: int
    num_kernels: int
    """Distinct fused computations in the compiled program."""
    temporary_bytes: int
    has_callback: bool

    @property
    def total(self) -> float:
        """Seconds from Python to an executable."""
        return self.trace + self.lower + self.compile


def compare(
    sides: Mapping[str, Callable[[], Any]], rounds: int = 15, inner: int | None = None, turn: float = 0.02
) -> dict[str, Timing]:
    """Time all sides in turn, so that whatever else the machine does falls on all of them.

    Arguments:
        sides: what to call, by name; the first is the reference of the ratios. Unless `inner` is given, each is
            called once or twice beforehand.
        rounds: how often every side gets its turn. The order rotates from round to round.
        inner: calls in a turn; `None` makes a turn last about `turn` seconds for each side.
        turn: seconds.

    Returns:
        By name: median and quartiles over rounds, of the seconds a call takes and of its ratio within a round.
    """
    names = list(sides)
    calls = {name: inner or _calls_in(sides[name], turn) for name in names}
    return _take_turns(names, rounds, lambda name: _time_calls(sides[name], calls[name]))


def _take_turns(names: Sequence[str], rounds: int, measure: Callable[[str], float]) -> dict[str, Timing]:
    """What `measure` says of every name, in seconds, once in each round, in an order that rotates."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for index in range(rounds):
        shift = index % len(names)
        for name in [*names[shift:], *names[:shift]]:
            seconds[name].append(measure(name))
    reference = seconds[names[0]]
    result = {}
    for name, mine in seconds.items():
        ratios = [own / theirs for own, theirs in zip(mine, reference, strict=True)]
        result[name] = Timing(*_quartiles(mine), *_quartiles(ratios))
    return result


def _calls_in(side: Callable[[], Any], turn: float) -> int:
    """How many calls of `side` fit into `turn` seconds; also its warm-up, of one call if that takes long."""
    first = _time_calls(side, 1)
    return 1 if first > _LONG_CALL else max(1, int(turn / max(_time_calls(side, 1), 1e-7)))


def _time_calls(side: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(side())
    return (time.perf_counter() - start) / calls


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    lower, middle, upper = np.quantile(values, (0.25, 0.5, 0.75))
    return float(middle), float(lower), float(upper)


def compile_figures(function: Callable[..., Any], *args: Any, repeats: int = 1) -> tuple[CompileFigures, Any]:
    """Trace, lower and compile `function(*args)` from nothing, `repeats` times.

    Every cache of jax is emptied before each, so what other programs share with this one is paid for anew. Programs
    compiled before stay usable, functions under `jax.jit` have to compile again: call the executable instead. The
    garbage collector rests, as in `timeit`: what it takes depends on all that the process has measured before.

    Returns:
        The figures (medians of the seconds), and the last executable.
    """
    seconds = []
    for _ in range(repeats):
        jax.clear_caches()
        # Small operations that the trace runs eagerly would otherwise count the start of the backend.
        jax.block_until_ready(jnp.zeros(()) + 1)

        def fresh(*args: Any) -> Any:
            return function(*args)

        gc.collect()
        gc.disable()
        marks = [time.perf_counter()]
        traced = jax.jit(fresh).trace(*args)
        marks.append(time.perf_counter())
        lowered = traced.lower()
        marks.append(time.perf_counter())
        compiled = lowered.compile()
        marks.append(time.perf_counter())
        gc.enable()
        seconds.append([after - before for before, after in itertools.pairwise(marks)])
    names = [equation.primitive.name for equation in equations_of(traced.jaxpr.jaxpr)]
    memory = compiled.memory_analysis()
    figures = CompileFigures(
        *(statistics.median(column) for column in zip(*seconds, strict=True)),
        num_equations=len(names),
        num_kernels=num_distinct_kernels(compiled.as_text()),
        temporary_bytes=int(memory.temp_size_in_bytes),
        has_callback=any("callback" in name for name in names),
    )
    return figures, compiled


def compare_compile(
    programs: Mapping[str, tuple[Callable[..., Any], tuple[Any, ...]]], rounds: int = 5
) -> dict[str, Timing]:
    """Trace, lower and compile all programs in turn, as `compare` calls sides; each is a function and its arguments."""

    def total(name: str) -> float:
        function, arguments = programs[name]
        return compile_figures(function, *arguments)[0].total

    return _take_turns(list(programs), rounds, total)


def num_distinct_kernels(text: str) -> int:
    """How many different kernels a compiled program has: fused computations, of which equal ones are compiled once, and
    calls and loops that are compiled whole.
    """
    ignored = re.compile(r"%[\w.\-]+|, metadata=\{[^}]*\}|/\*.*?\*/")
    computations = re.finditer(r"^(?:ENTRY )?%?([\w.\-]+) \([^\n]*\{\n(.*?)^\}", text, flags=re.MULTILINE | re.DOTALL)
    bodies = {match[1]: match[2] for match in computations}
    callees = re.compile(r"(?:calls|to_apply|body|condition|branch_computations)=\{?([^ )}]*(?:, %[^ )}]*)*)")

    def called(name: str) -> set[str]:
        lists = callees.findall(bodies.get(name, ""))
        return {callee for found in lists for callee in re.findall(r"%([\w.\-]+)", found)}

    whole = set(re.findall(r" call\([^\n]*to_apply=%([\w.\-]+)[^\n]*xla_cpu_small_call=\"true\"", text))
    inside, waiting = set(whole), list(whole)
    while waiting:
        new = called(waiting.pop()) - inside
        inside |= new
        waiting += new
    lines = [line for name, body in bodies.items() if name not in inside for line in body.splitlines()]
    fused = {match[1] for line in lines if (match := re.search(r" fusion\([^\n]*calls=%([\w.\-]+)", line))}
    return len({ignored.sub("", bodies.get(name, name)) for name in fused | whole})


def equations_of(jaxpr: Jaxpr) -> Iterator[Any]:
    """All equations of a jaxpr and of those inside it, each distinct inner jaxpr once."""
    seen = {id(jaxpr)}
    waiting = [jaxpr]
    while waiting:
        for equation in waiting.pop().eqns:
            yield equation
            for inner in _jaxprs_in(list(equation.params.values())):
                if id(inner) not in seen:
                    seen.add(id(inner))
                    waiting.append(inner)


def _jaxprs_in(value: Any) -> Iterator[Jaxpr]:
    if isinstance(value, ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, Jaxpr):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _jaxprs_in(item)


def field_time(field: Callable[..., Any], y: jax.Array, num: int = 2000) -> float:
    """Seconds of one evaluation of `field(t, y, None)`, at best, from a loop of `num`, so that no dispatch counts."""
    return _least_time(field_loop(field, y, num)) / num


def vjp_time(field: Any, y: jax.Array, num: int = 2000) -> float:
    """Seconds of one evaluation of `field` together with its transposed derivative, at best, from a loop of `num`."""
    return _least_time(vjp_loop(field, y, num)) / num


def field_loop(field: Callable[..., Any], y: jax.Array, num: int) -> Callable[[], Any]:
    """A compiled loop of `num` evaluations of `field(t, y, None)`, to be called."""

    def body(_: Any, x: jax.Array) -> jax.Array:
        # Every evaluation depends on the one before, else the compiler would do one.
        return y + 1e-3 * field(0.0, x, None)

    return _compiled(lambda y: lax.fori_loop(0, num, body, y), y)


def vjp_loop(field: Any, y: jax.Array, num: int) -> Callable[[], Any]:
    """A compiled loop of `num` evaluations of `field` with its transposed derivative, parameters' cotangents added up.

    Arguments:
        field: a module; its floating-point arrays are the parameters.
        y: a state.
        num: evaluations in the compiled loop.
    """
    parameters, static = eqx.partition(field, eqx.is_inexact_array)

    def body(_: Any, carry: Any) -> Any:
        y_bar, parameters_bar = carry
        _, pull = jax.vjp(lambda p, x: eqx.combine(p, static)(0.0, x, None), parameters, y + 1e-3 * y_bar)
        more, y_bar = pull(y + 1e-3 * y_bar)
        return y_bar, jax.tree.map(jnp.add, parameters_bar, more)

    start = jax.tree.map(jnp.zeros_like, parameters)
    return _compiled(lambda y: lax.fori_loop(0, num, body, (y, start)), y)


def _compiled(loop: Callable[[jax.Array], Any], y: jax.Array) -> Callable[[], Any]:
    compiled = jax.jit(loop).lower(y).compile()
    return lambda: compiled(y)


def _least_time(call: Callable[[], Any]) -> float:
    """The best of a few runs: a floor is what remains when nothing disturbs."""
    jax.block_until_ready(call())
    return min(_time_calls(call, 1) for _ in range(7))


def gradient_floor(num_evals: int, num_accepted: int, stages: int, field: float, vjp: float) -> float:
    """Seconds below which no gradient by recomputed stages can go.

    Every evaluation of the forward pass, then for each accepted step one evaluation with its transpose a stage. The
    last stage of a "first same as last" method is the first of the next step and is not counted twice.

    Arguments:
        num_evals: evaluations of the forward solve.
        num_accepted: its accepted steps.
        stages: stages a step without the repeated one; see `STAGES`.
        field, vjp: seconds from `field_time` and `vjp_time`.
    """
    return num_evals * field + num_accepted * stages * vjp


def environment() -> dict[str, Any]:
    """Processor, cores, versions, settings that matter, and the date."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "platform": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "load_before": round(os.getloadavg()[0], 2),
        "settings": {name: os.environ.get(name) for name in ("EQX_ON_ERROR", "XLA_FLAGS", "JAX_PLATFORMS")},
        "versions": versions,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
