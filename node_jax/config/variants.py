"""What the variants of data, of a field and of a task have in common."""

from typing import Any, ClassVar, Literal, TypeAlias

from node_jax.errors import require

Transform: TypeAlias = Literal["log", "standard", "none"]
"""log: centred logarithms, for positive quantities; standard: centred, divided by the standard deviation; none: as they
are, for fields that are written in the units of the data."""


class DataVariant:
    """Where numbers come from."""

    suits: ClassVar[str]
    """The tasks that can be made of them, for errors."""


class FieldVariant:
    """A vector field."""

    def check(self, run: Any) -> None:
        """What this field needs of its run."""

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field, in [0, 1)."""
        return 0.0


class TaskVariant:
    """What is fitted and measured."""

    def units(self) -> tuple[Transform, float]:
        """The transform of quantities, and the unit of time in that of the data, which the field sees."""
        return "none", 1.0

    def batch_sizes(self) -> tuple[int | None, ...]:
        """Sizes of the batches that are drawn; `None` takes all."""
        return ()


def require_units(run: Any, expected: Transform, field: str, reason: str) -> None:
    """A task that shows the quantities to a field as it wants them."""
    transform, _ = run.task.units()
    cure = f"{reason}: choose --task.transform {expected}."
    require(transform == expected, "field, task.transform", f"{expected} with {field}", transform, cure)


def require_data(run: Any, kinds: Any, expected: str) -> None:
    """Data of the right kind for a task."""
    data = run.data
    cure = f"Choose a task {data.suits}, or other data."
    require(isinstance(data, kinds), "task, data", expected, type(data).__name__, cure)
