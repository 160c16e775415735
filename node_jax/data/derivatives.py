"""States with their time derivatives, both measured."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from node_jax.data.trajectories import Trajectories
from node_jax.errors import UsageError

_LEAST_ROWS = 4
"""A cubic through the derivatives needs so many."""


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Measured states and measured time derivatives of one system, on the host in float64.

    Arguments:
        times: shape (series, time). Rows without an order are series of one row each.
        states: shape (series, time, dim).
        derivatives: as the states, their slopes at the same rows.
        names: one name a quantity.
        time_unit, value_unit, source: for plots and reports.

    Raises:
        UsageError: for shapes that do not fit, or numbers that are not finite.
    """

    times: np.ndarray
    states: np.ndarray
    derivatives: np.ndarray
    names: tuple[str, ...]
    time_unit: str = "time"
    value_unit: str = "value"
    source: str = "arrays"

    def __post_init__(self) -> None:
        shape = (*self.times.shape, len(self.names))
        if self.times.ndim != 2 or self.states.shape != shape or self.derivatives.shape != shape or 0 in shape:
            raise UsageError(
                "Derivatives: expected times (series, time), and states and derivatives (series, time, dim) with a "
                f"name for each of dim, got {self.times.shape}, {self.states.shape}, {self.derivatives.shape} and "
                f"{len(self.names)} names. Rows without an order are times[:, None], states[:, None] and so on."
            )
        for name in ("times", "states", "derivatives"):
            if not np.isfinite(getattr(self, name)).all():
                raise UsageError(f"Derivatives: expected finite {name}, got NaN or infinity. Drop these rows.")

    @property
    def num_rows(self) -> int:
        """Of all series together."""
        return self.times.size

    def select(self, series: slice) -> "Derivatives":
        """Some of the series."""
        arrays = (self.times[series], self.states[series], self.derivatives[series])
        return Derivatives(*arrays, self.names, self.time_unit, self.value_unit, self.source)

    def as_trajectories(self) -> Trajectories:
        """The states alone."""
        return Trajectories(self.times, self.states, self.names, self.time_unit, self.value_unit, self.source)


def integrate_derivatives(data: Derivatives) -> Derivatives:
    r"""States without most of their noise, where derivatives are measured much better than states.

    Within a series the states are known from the derivatives up to where they begin:

        x̂(t) = c + ∫ s(t) dt,        c = mean_i (x_i - ∫ s(t_i) dt),

    with the cubic spline s through the derivatives, and the constant that fits the measured states best. Of the noise
    of n rows 1/√n is left, and it is the same along the series. A field that is fitted to pairs of noisy states and
    exact slopes is biased towards the mean (errors in variables); with x̂ in place of the states that bias is all but
    gone.

    Arguments:
        data: at least four rows a series, close enough for a cubic between them; times that increase.

    Returns:
        The same with x̂ as states.

    Raises:
        UsageError: for shorter series, or times that do not increase.

    Reference: errors in variables: Fuller (1987), Measurement Error Models, doi:10.1002/9780470316665.

    Example:
        >>> import numpy as np, node_jax as nj
        >>> t = np.linspace(0.0, 6.0, 61)[None]
        >>> noisy = np.sin(t) + 0.1 * np.random.default_rng(0).standard_normal(t.shape)
        >>> data = nj.data.Derivatives(t, noisy[..., None], np.cos(t)[..., None], ("x",))
        >>> better = nj.data.integrate_derivatives(data).states[..., 0]
        >>> bool(np.abs(better - np.sin(t)).max() < 0.03)
        True
    """
    if data.times.shape[1] < _LEAST_ROWS or not (np.diff(data.times, axis=1) > 0).all():
        raise UsageError(
            f"integrate_derivatives: expected at least {_LEAST_ROWS} rows a series, at increasing times, got times of "
            f"shape {data.times.shape}. Rows without an order cannot be integrated."
        )
    integrals = np.stack(
        [
            CubicSpline(times, slopes).antiderivative()(times)
            for times, slopes in zip(data.times, data.derivatives, strict=True)
        ]
    )
    states = integrals + (data.states - integrals).mean(axis=1, keepdims=True)
    return Derivatives(data.times, states, data.derivatives, data.names, data.time_unit, data.value_unit, data.source)
