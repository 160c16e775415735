"""Where a field rests, and what solutions do beside it."""

import itertools
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix

from node_jax.errors import UsageError
from node_jax.types import Args, VectorField

_CLOSE = 1e-3
"""Share of the box within which two equilibria are one, and share of the largest eigenvalue that counts as 0."""


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """A state y* with f(y*) = 0 and the eigenvalues of ∂f/∂y there.

    Arguments:
        state: shape (dim,).
        eigenvalues: shape (dim,), complex, in 1/time, the largest real part first.
    """

    state: np.ndarray
    eigenvalues: np.ndarray

    @property
    def is_stable(self) -> bool:
        """Whether all solutions beside it approach it."""
        return bool((np.real(self.eigenvalues) < -self._small).all())

    @property
    def kind(self) -> str:
        """By the linear part (Strogatz 2015, 5.2): "stable node", "unstable node", "stable focus", "unstable focus",
        "saddle", "centre", whose nonlinear part decides what it is, or "degenerate", with an eigenvalue of 0.
        """
        real, turns = np.real(self.eigenvalues), np.abs(np.imag(self.eigenvalues)) > self._small
        is_zero = np.abs(real) <= self._small
        if (is_zero & ~turns).any():
            return "degenerate"
        if is_zero.all():
            return "centre"
        if is_zero.any():
            return "degenerate"
        if (real > 0).any() and (real < 0).any():
            return "saddle"
        return f"{'stable' if self.is_stable else 'unstable'} {'focus' if turns.any() else 'node'}"

    @property
    def _small(self) -> float:
        return _CLOSE * float(np.abs(self.eigenvalues).max(initial=0.0)) + 1e-12


def find_equilibria(
    field: VectorField, low: Any, high: Any, *, args: Args = None, t: float = 0.0, num_starts: int = 8
) -> list[Equilibrium]:
    r"""Equilibria of dy/dt = f(t, y, args) inside a box, by Newton's method from a grid of starts.

    What Newton's method does not reach from the grid is not found; more starts find more. For a field that depends on
    time these are the equilibria of the field at that time.

    Arguments:
        field: on states of shape (dim,).
        low, high: shape (dim,), the corners of the box.
        args, t: of the field.
        num_starts: along each axis; `num_starts ** dim` in all.

    Returns:
        The equilibria in the box, from left to right.

    Raises:
        UsageError: for corners that do not fit.

    Example:
        >>> import node_jax as nj
        >>> field = nj.fields.DampedPendulum(period=6.0, damping=0.2)
        >>> found = nj.analysis.find_equilibria(field, [-1.0, -1.0], [4.0, 1.0])
        >>> [(round(float(e.state[0]), 3), e.kind) for e in found]
        [(0.0, 'stable focus'), (3.142, 'saddle')]
    """
    corners = np.asarray(low, float), np.asarray(high, float)
    if corners[0].ndim != 1 or corners[0].shape != corners[1].shape or not (corners[0] < corners[1]).all():
        raise UsageError(f"find_equilibria: expected corners low < high of shape (dim,), got {low!r} and {high!r}.")
    axes = [np.linspace(a, b, num_starts) for a, b in zip(*corners, strict=True)]
    starts = jnp.asarray(np.array(list(itertools.product(*axes))), float)
    size = corners[1] - corners[0]
    states, slopes, jacobians = (np.asarray(x, float) for x in _search(field, jnp.asarray(t, float), starts, args))
    speeds = np.linalg.norm(slopes / size, axis=1)
    rates = np.linalg.norm(jacobians, axis=(1, 2))
    is_root = np.isfinite(states).all(axis=1) & (speeds <= 1e-4 * np.maximum(rates, 1e-12))
    inside = ((states >= corners[0] - 1e-6 * size) & (states <= corners[1] + 1e-6 * size)).all(axis=1)
    found: list[Equilibrium] = []
    for i in np.flatnonzero(is_root & inside):
        if any(np.linalg.norm((states[i] - other.state) / size) < _CLOSE for other in found):
            continue
        values = np.linalg.eigvals(jacobians[i])
        found.append(Equilibrium(states[i], values[np.argsort(-np.real(values), kind="stable")]))
    return sorted(found, key=lambda equilibrium: tuple(equilibrium.state))


@eqx.filter_jit
def _search(field: VectorField, t: Any, starts: Any, args: Args) -> tuple[Any, Any, Any]:
    """Where Newton's method ends, with the field and its Jacobian there."""
    tolerance = float(10 * np.finfo(starts.dtype).eps)
    solver = optimistix.Newton(rtol=tolerance, atol=tolerance)

    def search(start: Any) -> tuple[Any, Any, Any]:
        def slope(y: Any, args: Args) -> Any:
            return jnp.asarray(field(t, y, args))

        end = optimistix.root_find(slope, solver, start, args, max_steps=50, throw=False).value
        return end, slope(end, args), jax.jacfwd(slope)(end, args)

    return jax.vmap(search)(starts)
