"""A run for each seed and each point of a grid."""

import dataclasses
import difflib
import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from node_jax.config.checks import require_at_least
from node_jax.errors import UsageError, require

T = TypeVar("T")

_ARRAYS = ("lr", "b1", "b2", "momentum", "weight_decay")
"""Numbers of optimizers that are arrays in their state: runs that differ in them share one compiled program."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Several runs of one config: an ensemble of seeds, a grid over numbers, or both."""

    seeds: int = 1
    """Runs with seeds from `seed` on at each point of the grid, at least 1; two or more are evaluated as an
    ensemble."""
    grid: tuple[str, ...] = ()
    """Numbers to vary, each as path=value,value,..., such as optimizer.lr=1e-3,3e-3; every combination is a run."""
    mode: Literal["measure", "in-turn", "together"] = "measure"
    """Whether runs that share a program are trained one after the other, or side by side under vmap; measure tries
    both."""

    def __post_init__(self) -> None:
        require_at_least(self.seeds, 1, "sweep.seeds", "5 is usual for an ensemble.")
        paths = [_parse(axis)[0] for axis in self.grid]
        cure = "Put all its values into one: optimizer.lr=1e-3,3e-3 for example."
        require(len(set(paths)) == len(paths), "sweep.grid", "each path once", self.grid, cure)

    @property
    def is_single(self) -> bool:
        """Whether there is only one run."""
        return self.seeds == 1 and not self.grid


@dataclass(frozen=True)
class Member:
    """One run of a sweep."""

    values: dict[str, float]
    """What the grid gave it, by path."""
    run: Any
    """Its config, without a sweep."""


def expand(run: Any, sweep: Sweep) -> list[Member]:
    """The runs of a sweep, seeds varying fastest, none with a reference.

    Arguments:
        run: the config that is varied.
        sweep: its seeds and grid.

    Raises:
        UsageError: for a path that is no number of the config, or a value that it does not allow.
    """
    axes = [_parse(axis) for axis in sweep.grid]
    members = []
    for values in itertools.product(*(numbers for _, numbers in axes)):
        chosen = dict(zip((path for path, _ in axes), values, strict=True))
        changed = dataclasses.replace(run, sweep=Sweep(), reference=None)
        for path, value in chosen.items():
            changed = _replace(changed, path.split("."), value, path)
        first = changed.seed
        members += [Member(chosen, dataclasses.replace(changed, seed=first + i)) for i in range(sweep.seeds)]
    return members


def program_of(run: T) -> T:
    """The run with all that does not change its compiled programs put to one value: equal results share programs."""
    optimizer: Any = getattr(run, "optimizer")  # noqa: B009
    # A momentum of zero is another program, as it keeps no velocity.
    same = {name: 0.5 for name in _ARRAYS if getattr(optimizer, name, 0) != 0}
    return dataclasses.replace(run, seed=0, optimizer=dataclasses.replace(optimizer, **same))  # type: ignore[type-var]


def _parse(axis: str) -> tuple[str, tuple[float, ...]]:
    path, equals, values = axis.partition("=")
    try:
        numbers = tuple(float(value) for value in values.split(","))
    except ValueError:
        numbers = ()
    is_fine = bool(equals and path and numbers) and all(math.isfinite(number) for number in numbers)
    require(is_fine, "sweep.grid", "path=number,number,...", axis, "Write optimizer.lr=1e-3,3e-3 for example.")
    is_new = len(set(numbers)) == len(numbers)
    require(is_new, "sweep.grid", "each number once", axis, "More runs of one point are sweep.seeds.")
    is_inside = path.split(".")[0] != "sweep"
    require(is_inside, "sweep.grid", "a number of a single run", axis, "Write --sweep.seeds 5 for several seeds.")
    return path, numbers


def _replace(config: T, keys: list[str], value: float, path: str) -> T:
    """`config` with the number at a path changed."""
    names = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    if keys[0] not in names:
        close = difflib.get_close_matches(keys[0], names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(map(repr, names))}."
        raise UsageError(f"sweep.grid: {path!r} leads to no field, {type(config).__name__} has no {keys[0]!r}; {hint}")
    old = getattr(config, keys[0])
    if len(keys) > 1:
        is_config = dataclasses.is_dataclass(old)
        require(is_config, "sweep.grid", "a path to a number", path, f"{keys[0]!r} has no fields.")
        return dataclasses.replace(config, **{keys[0]: _replace(old, keys[1:], value, path)})  # type: ignore[type-var]
    is_number = isinstance(old, (int, float)) and not isinstance(old, bool)
    require(
        is_number,
        "sweep.grid",
        f"a number at {path!r}",
        old,
        "Only numbers can be swept, those that are None once they have a value.",
    )
    is_whole = isinstance(old, float) or value.is_integer()
    require(is_whole, "sweep.grid", f"whole numbers for {path!r}", value, "It counts something.")
    return dataclasses.replace(config, **{keys[0]: value if isinstance(old, float) else int(value)})  # type: ignore[type-var]
