r"""Costs along a solution, ∫ r(t, y(t)) |dt|, that make a field easier to solve.

A field whose trajectories bend little takes few steps. What is integrated here measures how much they move and bend,
at every evaluation of the field and without a look at the solver; `record=` of `nj.odeint` asks the solver instead.
"""

import abc
import inspect
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from node_jax.errors import require_count
from node_jax.fields import HybridField
from node_jax.tree import tree_size, tree_vdot
from node_jax.types import Args, Key, State, Time, VectorField


class AbstractIntegralCost(eqx.Module):
    """A cost ∫ r |dt| along a solution, by its rate r; see `nj.losses.solve_with_costs`."""

    @property
    def own_key(self) -> Key | None:
        """The random key for solves that are given none; `None` where the cost has none, or draws nothing."""
        return None

    def draw(self, y0: State, key: Key | None) -> Any:
        """What is random in the rate, drawn once for a solve: a pytree of arrays, or `None` for nothing.

        Arguments:
            y0: the initial state.
            key: a random key, `None` if neither the call nor the cost has one.
        """
        del y0, key
        return None

    @abc.abstractmethod
    def rate(self, field: VectorField, t: Time, y: State, args: Args, drawn: Any = None) -> Float[Array, ""]:
        """The rate r at (t, y), a scalar.

        Arguments:
            field: dy/dt = field(t, y, args), in the dtypes of y; `inspect.unwrap(field)` is the field of the solve.
            t, y, args: where the solver evaluates it.
            drawn: what `draw` returned.
        """


class KineticEnergy(AbstractIntegralCost):
    """r = ‖f(t, y)‖² / n, with n the number of elements of y: the mean square of the velocity.

    Along the straight line at constant speed, the cheapest to solve, it is least. A batch that is held in the state is
    averaged over like the rest. Costs no evaluation of the field beyond the solver's.

    Reference: Finlay, Jacobsen, Nurbekyan & Oberman (2020), arXiv:2002.02798, who do not divide by n.
    """

    def rate(self, field: VectorField, t: Time, y: State, args: Args, drawn: Any = None) -> Float[Array, ""]:
        """The mean of f² over all elements."""
        del drawn
        return _mean_square(field(t, y, args))


class JacobianNorm(AbstractIntegralCost):
    r"""r = ‖∂f/∂y‖_F², the sum of the squares of all entries, or an estimate of it without bias.

    For ε whose elements are independent with mean 0 and variance 1, E ‖εᵀ ∂f/∂y‖² = ‖∂f/∂y‖_F² (Hutchinson 1990). ε is
    drawn once for a solve, so that the rate is a function of (t, y), and the steps stay large; in
    `nj.losses.solve_batch_with_costs` once for each trajectory. A batch that is held in the state is summed over:
    divide by its size.

    Arguments:
        probes: over how many ε the estimate is averaged; each is a vector-Jacobian product
            in every evaluation of the field.
        exact: take all columns of the Jacobian instead, each at the cost of an evaluation: for a few state elements.
        distribution: of ε, "rademacher" (+1 or -1, the smaller variance) or "normal".
        key: random key of ε for solves that are given none; the same for every solve.

    Reference: Finlay, Jacobsen, Nurbekyan & Oberman (2020), arXiv:2002.02798.
    """

    probes: int = eqx.field(static=True, default=1)
    exact: bool = eqx.field(static=True, default=False)
    distribution: Literal["rademacher", "normal"] = eqx.field(static=True, default="rademacher")
    key: Key | None = None

    def __check_init__(self) -> None:
        require_count("JacobianNorm", "probes", self.probes)
        if self.distribution not in ("rademacher", "normal"):
            raise ValueError(
                f"JacobianNorm: expected distribution to be 'rademacher' or 'normal', got {self.distribution!r}."
            )

    @property
    def own_key(self) -> Key | None:
        """`key`."""
        return self.key

    def draw(self, y0: State, key: Key | None) -> State | None:
        """Each leaf of shape (probes, ...), in the dtype of y; `None` for an exact norm."""
        if self.exact:
            return None
        if key is None:
            raise ValueError(
                "JacobianNorm: expected a random key for its probes, got none. Pass key=jax.random.key(0) to the "
                "solve, a new one in each step of training, or to JacobianNorm; exact=True needs none."
            )
        sample = jax.random.rademacher if self.distribution == "rademacher" else jax.random.normal
        leaves, treedef = jax.tree.flatten(y0)
        keys = jax.random.split(key, len(leaves))
        drawn = [sample(k, (self.probes, *leaf.shape), leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(treedef, drawn)

    def rate(self, field: VectorField, t: Time, y: State, args: Args, drawn: Any = None) -> Float[Array, ""]:
        """The squared Frobenius norm, or its estimate with `drawn`."""
        if self.exact:
            flat, unravel = ravel_pytree(y)
            jacobian = jax.jacfwd(lambda flat: ravel_pytree(field(t, unravel(flat), args))[0])(flat)
            return jnp.sum(jacobian**2)
        if drawn is None:
            raise ValueError("JacobianNorm.rate: expected what JacobianNorm.draw returned, got None.")
        _, pull = jax.vjp(lambda y: field(t, y, args), y)
        rows = jax.vmap(lambda probe: pull(probe)[0])(drawn)
        return tree_vdot(rows, rows) / self.probes


class TotalDerivative(AbstractIntegralCost):
    r"""r = ‖dᴷy/dtᴷ‖² / n, the mean square of a total derivative of the solution, with n the number of elements of y.

    With y' = f, each derivative comes from the one before along the solution, where t moves too:

        y⁽ᵏ⁺¹⁾ = ∂y⁽ᵏ⁾/∂t + (∂y⁽ᵏ⁾/∂y) f.

    A method of order m solves without error a solution whose derivative m + 1 is zero. A batch that is held in the
    state is averaged over.

    Arguments:
        order: K. 1 is the kinetic energy, 2 the acceleration. The cost of an evaluation doubles, about, with each order
            more: forward derivatives are nested, because `jax.experimental.jet` lacks rules that common activations
            need. A field that is not K - 1 times differentiable, as one with relu, is taken piece by piece.

    Reference: Kelly, Bettencourt, Johnson & Duvenaud (2020), arXiv:2007.04504.
    """

    order: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        require_count("TotalDerivative", "order", self.order)

    def rate(self, field: VectorField, t: Time, y: State, args: Args, drawn: Any = None) -> Float[Array, ""]:
        """The mean of the square over all elements."""
        del drawn
        return _mean_square(self.derivative(field, t, y, args))

    def derivative(self, field: VectorField, t: Time, y: State, args: Args) -> State:
        """dᴷy/dtᴷ at (t, y), in units of the state over time to the power K."""

        def nth(order: int, t: Time, y: State) -> State:
            slope = field(t, y, args)
            if order == 1:
                return slope
            return jax.jvp(lambda t, y: nth(order - 1, t, y), (t, y), (jnp.ones_like(t), slope))[1]

        return nth(self.order, t, y)


class ResidualNorm(AbstractIntegralCost):
    r"""r = ‖a(t, y)‖² / n for what the residual of a `HybridField` adds, a, with n the number of elements of y.

    Least beside a small error of the trajectories, it leaves to the residual only what the mechanism cannot explain:
    then the division between the two is unique, where the mechanism's derivatives are a set of unique projection, such
    as a convex one, and the mechanism's parameters mean something. Costs an evaluation of the residual each time.

    Arguments:
        is_relative: r = ‖a‖² / ‖y‖² instead, in 1/time²: the same weight for small states as for large ones.

    Raises:
        ValueError: when the field of a solve is no `HybridField`.

    Reference: Yin et al. (2021), arXiv:2010.04456.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.HybridField(lambda t, y, args: 0 * y, lambda t, y, args: 2 + 0 * y)
        >>> costs = {"residual": nj.losses.ResidualNorm()}
        >>> _, found = nj.losses.solve_with_costs(nj.Integrator(), field, jnp.ones(1), [0.0, 3.0], costs=costs)
        >>> round(float(found["residual"]), 4)
        12.0
    """

    is_relative: bool = eqx.field(static=True, default=False)

    def rate(self, field: VectorField, t: Time, y: State, args: Args, drawn: Any = None) -> Float[Array, ""]:
        """The mean of a² over all elements, or the ratio of the norms."""
        del drawn
        hybrid = inspect.unwrap(field)
        if not isinstance(hybrid, HybridField):
            raise ValueError(
                f"ResidualNorm: expected a HybridField, whose residual is to be small, got {type(hybrid).__name__}. "
                "Leave the cost out, or write the field as HybridField(mechanism, residual)."
            )
        added = hybrid.correction(t, y, args)
        if not self.is_relative:
            return _mean_square(added)
        # Where the state is 0 the ratio has no value; there it is that of a state beside it.
        return tree_vdot(added, added) / (tree_vdot(y, y) + 1e-6)


def _mean_square(x: State) -> Float[Array, ""]:
    return tree_vdot(x, x) / max(1, tree_size(x))
