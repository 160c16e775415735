"""Noisy trajectories of known systems, to study how well a fit finds them."""

from typing import Any

import jax
import numpy as np

from node_jax.controllers import PIController
from node_jax.data.controls import Controls
from node_jax.data.trajectories import Trajectories
from node_jax.errors import UsageError
from node_jax.integrate import odeint_batch
from node_jax.interpolate import Linear, ZeroOrderHold
from node_jax.solvers import Dopri8
from node_jax.status import check
from node_jax.types import VectorField


def simulate(
    field: VectorField,
    y0s: Any,
    ts: Any,
    *,
    noise: float = 0.0,
    seed: int = 0,
    burn_in: float = 0.0,
    names: tuple[str, ...] | None = None,
    controls: Controls | None = None,
) -> Trajectories:
    """Trajectories of `field`, measured with noise: values = truth + noise std(truth) ε, ε standard normal.

    Solved by `Dopri8` in float64 with tolerances of 1e-10. The standard deviation is that of each quantity over all
    rows of all trajectories.

    Arguments:
        field: `field(t, y, args)` on states of shape (dim,), such as `nj.fields.Lorenz()`.
        y0s: shape (series, dim), the states at `ts[0] - burn_in`.
        ts: shape (time,), increasing; the times of measurement.
        noise: standard deviation of the noise, relative to that of the truth.
        seed: of the noise.
        burn_in: time to pass before the first measurement, for instance to reach an attractor.
        names: of the quantities; `None` numbers them.
        controls: of the trajectories, which the field gets as `args`: a path, or an array where they are constant.

    Returns:
        `Trajectories` with the states themselves in `truth`.

    Raises:
        UsageError: for shapes that do not fit, or a negative noise.
        SolveError: if a solve fails.

    Example:
        >>> import numpy as np, node_jax as nj
        >>> data = nj.data.simulate(nj.fields.Lorenz(), np.ones((1, 3)), np.linspace(0, 1, 5), noise=0.01)
        >>> data.values.shape
        (1, 5, 3)
    """
    y0s, ts = np.asarray(y0s, float), np.asarray(ts, float)
    if y0s.ndim != 2 or ts.ndim != 1 or noise < 0 or burn_in < 0:
        raise UsageError(
            "simulate: expected y0s (series, dim), ts (time,), noise and burn_in of at least 0, got "
            f"{y0s.shape}, {ts.shape}, {noise} and {burn_in}."
        )
    if controls is not None and controls.values.shape[:-1] not in ((len(y0s),), (len(y0s), len(ts))):
        raise UsageError(
            f"simulate: expected controls for {len(y0s)} series of {len(ts)} rows, or a constant for each, got the "
            f"shape {controls.values.shape}."
        )
    # Repeated times cost nothing: without a burn-in the first row is solved over no time.
    whole = np.concatenate([[ts[0] - burn_in], ts])
    with jax.enable_x64(True):
        controller = PIController(rtol=1e-10, atol=1e-10)
        args, axes = (None, None) if controls is None else (_paths(controls, ts), 0)
        settings = {"solver": Dopri8(), "controller": controller, "max_steps": 100_000}
        solution = odeint_batch(field, y0s, whole, args, in_axes=(0, None, axes), **settings)
        truth = np.asarray(check(solution).ys[:, 1:])
    scale = noise * truth.std(axis=(0, 1))
    values = truth + scale * np.random.default_rng(seed).standard_normal(truth.shape)
    labels = names or tuple(f"y{i + 1}" for i in range(y0s.shape[1]))
    times = np.tile(ts, (len(y0s), 1))
    source = f"a simulation with {100 * noise:g} % noise, seed {seed}"
    return Trajectories(times, values, labels, source=source, truth=truth, controls=controls)


def _paths(controls: Controls, ts: np.ndarray) -> Any:
    """What a batched solve takes as `args`."""
    if controls.is_constant:
        return controls.values
    path: Any = ZeroOrderHold if controls.between == "hold" else Linear
    return jax.vmap(path, in_axes=(None, 0))(ts, controls.values)
