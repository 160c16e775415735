"""Mechanical systems with dissipation and inputs, whose energy balance holds for any weights."""

from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractEnergyField
from node_jax.fields.inputs import control_at
from node_jax.fields.states import over_batch

MatrixOfState: TypeAlias = Callable[[Float[Array, " dim"]], Float[Array, "dim columns"]] | Float[Array, "dim columns"]


class PortHamiltonianField(AbstractEnergyField):
    r"""dy/dt = (J - R(y)) ∇H(y) + G(y) u(t),   y = (q, p),   J = [[0, I], [-I, 0]],   R(y) = L(y) L(y)ᵀ.

    J is antisymmetric and R positive semidefinite, whatever L is. So for all weights the energy obeys the balance

        dH/dt = uᵀ w - |Lᵀ ∇H|²,        w = G(y)ᵀ ∇H(y),

    and the field is passive: H(t1) - H(t0) <= ∫ uᵀ w dt. What is put in by u is stored in H or dissipated by R, never
    more. Without u the energy decreases. w is the output that goes with u: for a force, the velocity at which it acts.

    Arguments:
        hamiltonian: H, a differentiable function of y of shape (dim,), dim even; the first half of y are positions.
        dissipation: L, of shape (dim, any): a function of y, or an array, which is trained. `None` is no dissipation.
        input_map: G, of shape (dim, num_controls): a function of y, or an array, which is trained. `None` is no input.
        num_controls: size of u; it may be left out where G is an array or there is none.

    `args` of a solve are u: an array of shape (num_controls,), a path such as `nj.interpolate.ZeroOrderHold` with
    values of shape (time, num_controls), or `None` for u = 0. A constant of H has no effect.

    Raises:
        ValueError: for a state of odd size, matrices that do not fit, or another number of controls.

    References: van der Schaft & Jeltsema (2014), doi:10.1561/2600000002; learned from data, Zhong, Dey & Chakraborty
    (2020), arXiv:1909.12077, and with dissipation, arXiv:2002.08860.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> def energy(y): return 0.5 * y[1] ** 2 + 1.0 - jnp.cos(y[0])
        >>> L, G = jnp.array([[0.0], [0.5]]), jnp.array([[0.0], [1.0]])
        >>> field = nj.fields.PortHamiltonianField(energy, L, G)
        >>> ys = nj.odeint(field, jnp.array([1.0, 0.0]), [0.0, 5.0]).ys
        >>> bool(field.energy(ys[1]) < field.energy(ys[0]))
        True
    """

    hamiltonian: Callable[[Float[Array, " dim"]], Float[Array, ""]]
    dissipation: MatrixOfState | None
    input_map: MatrixOfState | None
    num_controls: int = eqx.field(static=True)

    def __init__(
        self,
        hamiltonian: Callable[[Float[Array, " dim"]], Float[Array, ""]],
        dissipation: MatrixOfState | None = None,
        input_map: MatrixOfState | None = None,
        *,
        num_controls: int | None = None,
    ) -> None:
        parts = {"dissipation": dissipation, "input_map": input_map}
        for name, part in parts.items():
            if part is not None and not callable(part) and (jnp.ndim(part) != 2 or jnp.shape(part)[0] % 2):
                raise ValueError(
                    f"PortHamiltonianField: expected {name} to be a function of y or an array of shape (dim, columns) "
                    f"with dim even, got shape {jnp.shape(part)}. Positions come first, then momenta."
                )
        arrays = {name: part if part is None or callable(part) else jnp.asarray(part) for name, part in parts.items()}
        self.hamiltonian = hamiltonian
        self.dissipation, self.input_map = arrays["dissipation"], arrays["input_map"]
        self.num_controls = _num_columns(input_map, num_controls)

    def __call__(self, t: Any, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch dim"]:
        """The derivative at (t, y) under the control that `args` hold."""
        y = _as_state(y)
        u = control_at("PortHamiltonianField", t, args, self.num_controls, y)
        return over_batch(self._slope, y, u)

    def energy(self, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch"]:
        """H at each state."""
        del args
        return over_batch(self.hamiltonian, _as_state(y))

    def output(self, y: Float[Array, "*batch dim"]) -> Float[Array, "*batch num_controls"]:
        """w = G(y)ᵀ ∇H(y): uᵀ w is the power that a control puts in."""

        def output(y: Array) -> Array:
            slope = jax.grad(self.hamiltonian)(y)
            return self._matrix("input_map", y).T @ slope if self.num_controls else jnp.zeros((0,), y.dtype)

        return over_batch(output, _as_state(y))

    def dissipated_power(self, y: Float[Array, "*batch dim"]) -> Float[Array, "*batch"]:
        """|L(y)ᵀ ∇H(y)|², never negative."""

        def power(y: Array) -> Array:
            if self.dissipation is None:
                return jnp.zeros((), y.dtype)
            return jnp.sum((self._matrix("dissipation", y).T @ jax.grad(self.hamiltonian)(y)) ** 2)

        return over_batch(power, _as_state(y))

    def dissipation_matrix(self, y: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim dim"]:
        """R(y) = L(y) L(y)ᵀ."""

        def matrix(y: Array) -> Array:
            if self.dissipation is None:
                return jnp.zeros((y.size, y.size), y.dtype)
            factor = self._matrix("dissipation", y)
            return factor @ factor.T

        return over_batch(matrix, _as_state(y))

    def input_matrix(self, y: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim num_controls"]:
        """G(y)."""

        def matrix(y: Array) -> Array:
            return self._matrix("input_map", y) if self.num_controls else jnp.zeros((y.size, 0), y.dtype)

        return over_batch(matrix, _as_state(y))

    def _slope(self, y: Array, u: Array) -> Array:
        half = y.size // 2
        slope = jax.grad(self.hamiltonian)(y)
        total = jnp.concatenate([slope[half:], -slope[:half]])
        if self.dissipation is not None:
            factor = self._matrix("dissipation", y)
            total -= factor @ (factor.T @ slope)
        if self.num_controls:
            total += self._matrix("input_map", y) @ u
        return total

    def _matrix(self, name: str, y: Array) -> Array:
        part = getattr(self, name)
        matrix = jnp.asarray(part(y) if callable(part) else part, y.dtype)
        columns = self.num_controls if name == "input_map" else None
        if matrix.ndim != 2 or matrix.shape[0] != y.size or columns not in (None, matrix.shape[1]):
            raise ValueError(
                f"PortHamiltonianField: expected {name} of shape ({y.size}, {columns or 'columns'}) for a state of "
                f"size {y.size}, got {matrix.shape}. Rows of positions come first; they are mostly zero."
            )
        return matrix


def _num_columns(input_map: MatrixOfState | None, num_controls: int | None) -> int:
    """The size of u, of which an array and `num_controls` may both speak."""
    if callable(input_map):
        if num_controls is None:
            raise ValueError(
                "PortHamiltonianField: expected num_controls beside an input_map that is a function, got none. It is "
                "the number of columns of G(y)."
            )
        return num_controls
    known = 0 if input_map is None else jnp.shape(input_map)[1]
    if num_controls not in (None, known):
        raise ValueError(
            f"PortHamiltonianField: expected num_controls to be {known}, the columns of input_map, got "
            f"{num_controls}. Leave it out."
        )
    return known


def _as_state(y: Any) -> Float[Array, "*batch dim"]:
    y = jnp.asarray(y)
    if y.ndim < 1 or y.shape[-1] % 2 or y.shape[-1] == 0:
        raise ValueError(
            "PortHamiltonianField: expected a state (q, p) whose last axis has an even number of entries, positions "
            f"first, got shape {y.shape}."
        )
    return y
