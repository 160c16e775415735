"""The physical parameters of a trained field, with intervals."""

import dataclasses
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from node_jax.adjoints import ForwardMode
from node_jax.analysis import Identification, identify, named_parameters_of
from node_jax.fields import AbstractField, HybridField
from node_jax.integrate import Integrator
from node_jax.models import Scaling
from node_jax.solvers import AbstractSolver
from node_jax.tasks.rows import Rows

LEVEL = 0.9
"""Of the intervals in reports."""
_MOST_FREE = 1000
"""Numbers that are free at once; beyond, initial states are held fixed."""


def identify_parameters(
    field: AbstractField,
    integrator: Integrator,
    rows: Rows,
    starts: jax.Array,
    noise: jax.Array | None,
) -> Identification | None:
    """The named parameters of `field`, or of its mechanism, where whole solves of the rows left it; in the model's
    units. `None` for a field without named parameters, and where a solve fails.

    The mechanism's parameters are free, and the initial states too if they were trained; a network beside the mechanism
    is held fixed. Residuals are those of the loss: all in the model's units, so that the estimate is its optimum.

    Arguments:
        field: trained.
        integrator: how it is solved.
        rows: the data.
        starts: shape (series, dim), of the solves.
        noise: shape (dim,), the unit in which initial states are free; `None` holds them fixed.
    """
    if named_parameters_of(field) is None:
        return None
    is_native = isinstance(integrator.solver, AbstractSolver)
    solver = dataclasses.replace(integrator, adjoint=ForwardMode()) if is_native else integrator
    part = field.mechanism if isinstance(field, HybridField) else field
    num_free = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(part, eqx.is_inexact_array))) + starts.size
    has_free_starts = noise is not None and num_free <= _MOST_FREE
    controls = None if rows.inputs is None else rows.inputs.as_args()
    measured = np.nonzero(np.asarray(rows.mask).reshape(-1))[0]

    def residuals(free: Any) -> jax.Array:
        part, offsets = free
        whole = eqx.tree_at(lambda f: f.mechanism, field, part) if isinstance(field, HybridField) else part
        begin = starts if offsets is None else starts + noise * offsets
        ys = jax.vmap(lambda y0, ts, args: solver(whole, y0, ts, args).ys)(begin, rows.times, controls)
        return (ys - rows.values).reshape(-1)[measured]

    free = (part, jnp.zeros_like(starts) if has_free_starts else None)
    if not bool(jnp.isfinite(jax.jit(lambda: residuals(free))()).all()):
        return None
    with warnings.catch_warnings():
        # What a warning says is in the table.
        warnings.simplefilter("ignore", UserWarning)
        return identify(
            residuals,
            free,
            named=lambda free: named_parameters_of(free[0]) or {},
            refine=False,
        )


def describe_parameters(found: Identification, field: AbstractField, scaling: Scaling, time_unit: str) -> str:
    """A table of the parameters under a sentence that says what the intervals are."""
    unit = time_unit if float(scaling.t_scale) == 1 else f"{float(scaling.t_scale):g} {time_unit}"
    states = "logarithms of the values less their mean" if scaling.is_log else "the model's units"
    fixed = " The network is held fixed: with another division between the two they would move." * isinstance(
        field, HybridField
    )
    remains = (
        ""
        if found.has_converged
        else (
            " The fit is not at the optimum, which is up to "
            f"{np.nanmax(np.abs(found.remaining)):.1g} standard errors away: train longer before you trust them."
        )
    )
    return (
        f"Parameters of the mechanism, with the time in {unit} and the state in {states}; intervals by the Fisher "
        f"information of the residuals, on the condition that these are independent and of one size.{fixed}{remains}"
        f"\n\n{found.to_markdown(LEVEL)}"
    )


def parameter_metrics(found: Identification) -> dict[str, float]:
    """Estimates and ends of the intervals by name, for `evaluation.json`."""
    metrics = {}
    for name, estimate, (low, high) in zip(found.names, found.estimates, found.intervals(LEVEL), strict=True):
        metrics |= {f"parameter_{name}": float(estimate)}
        if np.isfinite(low):
            metrics |= {f"parameter_{name}_low": float(low), f"parameter_{name}_high": float(high)}
    return metrics
