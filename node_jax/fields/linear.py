"""The linear field, whose solutions are known."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import expm
from jaxtyping import Array, Float

from node_jax.fields.base import AbstractField
from node_jax.fields.states import as_vectors
from node_jax.interpolate import AbstractPath

Structure = Literal["free", "skew", "stable"]
_TOLERANCE = 1e-5
"""How far a given matrix may be from a structure, relative to its largest entry: rounding in float32."""


class LinearField(AbstractField):
    r"""dy/dt = A y + B u + c, with the exact solution by the matrix exponential.

    The structure of A holds for all values of the leaves, in training too:

    - "free": A = M.
    - "skew": A = M - Mᵀ, which only turns: without input the norm of y is conserved.
    - "stable": A = M - Mᵀ - L Lᵀ, whose symmetric part is negative semidefinite: without input the norm of y never
      grows. These are not all matrices with eigenvalues in the left half plane, but those whose flow contracts in the
      Euclidean norm; every other one is of this kind in some linear coordinates. A direction in which L starts at zero
      has a derivative of zero there: start with some decay where training shall find one.

    Arguments:
        matrix: A, shape (dim, dim), in 1/time. The leaves start at what gives it.
        input_matrix: B, shape (dim, input); `None` is a field without input.
        offset: c, shape (dim,); `None` is 0, and stays so.
        structure: as above.

    Raises:
        ValueError: for shapes that do not fit, and for a matrix that is not of its structure.

    Reference: matrix exponential: Moler & Van Loan (2003), doi:10.1137/S00361445024180; matrices with a negative
    semidefinite symmetric part: Lohmiller & Slotine (1998), doi:10.1016/S0005-1098(98)00019-3.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.LinearField([[0.0, 1.0], [-1.0, 0.0]], structure="skew")
        >>> y0, ts = jnp.array([1.0, 0.0]), jnp.linspace(0.0, 3.0, 4)
        >>> ys = nj.odeint(field, y0, ts, controller=nj.PIController(rtol=1e-6, atol=1e-6)).ys
        >>> bool(jnp.allclose(ys, field.solve_exactly(y0, ts), atol=1e-4))
        True
    """

    weight: Float[Array, "dim dim"]
    """M."""
    root: Float[Array, "dim dim"] | None
    """L."""
    input_matrix: Float[Array, "dim input"] | None
    offset: Float[Array, " dim"] | None
    structure: Structure = eqx.field(static=True)

    def __init__(
        self, matrix: Any, input_matrix: Any = None, offset: Any = None, *, structure: Structure = "free"
    ) -> None:
        matrix = jnp.asarray(matrix, float)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"LinearField: expected a matrix of shape (dim, dim), got {matrix.shape}.")
        dim = len(matrix)
        self.structure = structure
        self.weight, self.root = _parts(matrix, structure)
        self.input_matrix = None if input_matrix is None else jnp.asarray(input_matrix, float)
        if self.input_matrix is not None and (self.input_matrix.ndim != 2 or len(self.input_matrix) != dim):
            raise ValueError(
                f"LinearField: expected an input_matrix of shape ({dim}, input), got {self.input_matrix.shape}."
            )
        self.offset = None if offset is None else jnp.asarray(offset, float)
        if self.offset is not None and self.offset.shape != (dim,):
            raise ValueError(f"LinearField: expected an offset of shape ({dim},), got {self.offset.shape}.")

    @property
    def matrix(self) -> Float[Array, "dim dim"]:
        """A, in 1/time."""
        if self.structure == "free":
            return self.weight
        turn = self.weight - self.weight.T
        return turn if self.root is None else turn - self.root @ self.root.T

    def __call__(self, t: Any, y: Float[Array, "*batch dim"], args: Any = None) -> Float[Array, "*batch dim"]:
        """The derivative at (t, y).

        Arguments:
            t: time, at which a path is read.
            y: shape (*batch, dim).
            args: with an input, u of shape (input,) or (*batch, input), or a path of `nj.interpolate` with such values.
        """
        y = self._check_state(y)
        slope = y @ self.matrix.T
        constant = self._constant(args.evaluate(t) if isinstance(args, AbstractPath) else args)
        return slope if constant is None else slope + constant

    def solve_exactly(self, y0: Any, ts: Any, u: Any = None) -> Float[Array, "time *batch dim"]:
        r"""y(t) for a constant input, from y(ts[0]) = y0, by one exponential for each time:

            [y(t), 1] = exp((t - ts[0]) [[A, B u + c], [0, 0]]) [y0, 1].

        Arguments:
            y0: shape (*batch, dim).
            ts: shape (time,), in any order; the first is that of y0.
            u: shape (input,), the same for all states.

        Returns:
            y of shape (time, *batch, dim), differentiable for everything.
        """
        y0, ts = self._check_state(y0), jnp.asarray(ts, float)
        if ts.ndim != 1:
            raise ValueError(f"LinearField.solve_exactly: expected times of shape (time,), got {ts.shape}.")
        dim, matrix, constant = y0.shape[-1], self.matrix, self._constant(u)
        if constant is None:
            flows = jax.vmap(lambda t: expm(t * matrix))(ts - ts[0])
            return jnp.einsum("tij,...j->t...i", flows, y0)
        if constant.ndim != 1:
            raise ValueError(
                f"LinearField.solve_exactly: expected an input of shape (input,), got {jnp.shape(u)}. Use jax.vmap for "
                "an input of each state."
            )
        augmented = jnp.zeros((dim + 1, dim + 1), matrix.dtype).at[:dim, :dim].set(matrix).at[:dim, dim].set(constant)
        flows = jax.vmap(lambda t: expm(t * augmented))(ts - ts[0])
        shift = flows[:, :dim, dim].reshape(len(ts), *[1] * (y0.ndim - 1), dim)
        return jnp.einsum("tij,...j->t...i", flows[:, :dim, :dim], y0) + shift

    def _check_state(self, y: Any) -> Float[Array, "*batch dim"]:
        return as_vectors("LinearField", y, len(self.weight))

    def _constant(self, u: Any) -> Float[Array, "*batch dim"] | None:
        """B u + c."""
        if self.input_matrix is None:
            return self.offset
        num = self.input_matrix.shape[1]
        if u is None or jnp.ndim(u) < 1 or jnp.shape(u)[-1] != num:
            came = "none" if u is None else f"shape {jnp.shape(u)}"
            raise ValueError(
                f"LinearField: expected an input u with {num} entries in its last axis, got {came}. Pass it as args of "
                "the solve: an array, or a path of nj.interpolate."
            )
        push = jnp.asarray(u) @ self.input_matrix.T
        return push if self.offset is None else push + self.offset


def _parts(matrix: Float[Array, "dim dim"], structure: Structure) -> tuple[Array, Array | None]:
    """M and L that give this matrix."""
    if structure == "free":
        return matrix, None
    if structure not in ("skew", "stable"):
        raise ValueError(f"LinearField: expected structure to be 'free', 'skew' or 'stable', got {structure!r}.")
    symmetric = np.asarray(matrix + matrix.T, float) / 2
    slack = _TOLERANCE * max(float(np.abs(matrix).max()), np.finfo(float).tiny)
    if structure == "skew":
        if np.abs(symmetric).max() > slack:
            raise ValueError(
                "LinearField: expected A = -Aᵀ for structure='skew', got another. Take 'free' or 'stable'."
            )
        return matrix / 2, None
    values, vectors = np.linalg.eigh(symmetric)
    if values.max() > slack:
        raise ValueError(
            "LinearField: expected a matrix whose symmetric part has no positive eigenvalue for structure='stable', "
            f"got {values.max():.3g}. Take structure='free', or other coordinates."
        )
    root = vectors * np.sqrt(np.maximum(-values, 0.0))
    # Half of the antisymmetric part: M - Mᵀ is then all of it.
    return (matrix - matrix.T) / 4, jnp.asarray(root, matrix.dtype)
