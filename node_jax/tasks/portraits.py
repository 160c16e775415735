"""Phase portraits of trained fields of two quantities, over their data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from node_jax.analysis import draw_phase_portrait
from node_jax.data import Trajectories
from node_jax.fields import AbstractField
from node_jax.models import Scaling
from node_jax.types import VectorField

_MARGIN = 0.15
"""Of the range of the data, on each side."""
_MOST_DRAWN = 20
"""Trajectories over a portrait."""


def draw_portraits(fields: Mapping[str, AbstractField], data: Trajectories, scaling: Scaling, path: Path) -> bool:
    """The portrait of each field that depends on no time, in the user's units or in their logarithms.

    Returns:
        Whether anything was drawn: data of two quantities without controls, and a field that is autonomous.
    """
    if data.values.shape[-1] != 2 or data.controls is not None:
        return False
    chosen = {name: field for name, field in fields.items() if is_autonomous(field)}
    if not chosen:
        return False
    with np.errstate(invalid="ignore"):
        values = np.log(data.values) if scaling.is_log else data.values
    low, high = np.nanmin(values, axis=(0, 1)), np.nanmax(values, axis=(0, 1))
    margin = _MARGIN * (high - low)
    names = [f"log {name}" if scaling.is_log else name for name in data.names]
    draw_phase_portrait(
        {name: in_units(field, scaling) for name, field in chosen.items()},
        (low - margin, high + margin),
        path,
        names=names,
        trajectories=list(values[:_MOST_DRAWN]),
    )
    return True


def is_autonomous(field: AbstractField) -> bool:
    """Whether the field is the same at two times, at a few states of two quantities."""
    states = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)), float)
    at = [np.asarray(jax.vmap(lambda y, t=t: jnp.asarray(field(t, y, None)))(states)) for t in (0.0, 0.618)]
    return bool(np.array_equal(at[0], at[1]))


def in_units(field: AbstractField, scaling: Scaling) -> VectorField:
    """The field for values, or for their logarithms where the model is of these, over time in the user's units."""
    loc, scale, t_scale = (jnp.asarray(x, float) for x in (scaling.loc, scaling.scale, scaling.t_scale))

    def scaled(t: Any, y: Any, args: Any) -> Any:
        return scale / t_scale * field(t, (y - loc) / scale, args)

    return scaled
