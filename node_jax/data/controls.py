"""Control inputs that were known while trajectories were measured."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from node_jax.errors import UsageError


@dataclass(frozen=True, eq=False)
class Controls:
    """Control inputs of several trajectories, in the user's units, on the host in float64.

    Arguments:
        values: shape (series, time, num_controls), at the times of the rows of each series; or (series, num_controls),
            what stays the same along each: a mass, a dose. No model scales them: choose units in which they are near 1.
        names: one name a control.
        between: what they are between two rows: `"hold"`, the value at the row before, for what is switched at rows, or
            `"linear"`, for what was measured there. Under a hold the values at the last row are not used.

    Raises:
        UsageError: for shapes that do not fit, or values that are not finite. In rows that are padding any number will
            do.

    Example:
        >>> import numpy as np, node_jax as nj
        >>> nj.data.Controls(np.zeros((3, 10, 1)), ("torque",)).is_constant
        False
    """

    values: np.ndarray
    names: tuple[str, ...]
    between: Literal["hold", "linear"] = "hold"

    def __post_init__(self) -> None:
        shape = self.values.shape
        if len(shape) not in (2, 3) or 0 in shape or shape[-1] != len(self.names):
            raise UsageError(
                "Controls: expected values (series, time, num_controls), or (series, num_controls) for constants, with "
                f"a name for each control, got {shape} and {len(self.names)} names."
            )
        if not np.isfinite(self.values).all():
            raise UsageError(
                "Controls: expected finite values, got NaN or infinity. Fill in what is missing, for instance by the "
                "value before."
            )
        if self.between not in ("hold", "linear"):
            raise UsageError(f"Controls: expected between to be 'hold' or 'linear', got {self.between!r}.")

    @property
    def is_constant(self) -> bool:
        """Whether they stay the same along each series."""
        return self.values.ndim == 2
