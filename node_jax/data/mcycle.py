"""Head acceleration in a simulated motorcycle crash."""

import numpy as np

from node_jax.data.series import TimeSeries
from node_jax.data.store import load_table


def load_mcycle() -> TimeSeries:
    """Acceleration of the head of a test dummy in a simulated motorcycle crash, 94 times from 2.4 to 57.6 ms.

    The 133 readings share times; those of one time are averaged here. `load_table("mcycle")` has all of them. Times are
    in ms after the impact, values in units of the acceleration of gravity, column `acceleration`.

    Source: Silverman (1985), Some aspects of the spline smoothing approach to non-parametric regression curve fitting,
    J. R. Statist. Soc. B 47, 1-52; data set `mcycle` of the R package MASS. It is fetched once: `node-jax data get
    mcycle`.

    Raises:
        DataError: where it cannot be fetched.
    """
    table = load_table("mcycle")
    times, rows = np.unique(table["times"], return_inverse=True)
    means = np.bincount(rows, table["accel"]) / np.bincount(rows)
    return TimeSeries(times, means[:, None], ("acceleration",), "ms", "g", "mcycle (Silverman 1985)")
