"""Functions of time that weights are combined with: polynomials, Fourier terms, pieces."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.fields.checks import check_sizes, check_span


class AbstractTimeBasis(eqx.Module):
    r"""Functions φ_1(t), ..., φ_num(t) on a span of time.

    A time beyond the span is moved to its nearer end, but by `Fourier`, which goes on.

    Arguments:
        num: number of functions, at least 1.
        span: first and last time for which the functions are made, t0 < t1.

    Raises:
        ValueError: for other numbers and spans.
    """

    num: int = eqx.field(static=True)
    span: tuple[float, float] = eqx.field(static=True, default=(0.0, 1.0))

    def __check_init__(self) -> None:
        check_sizes(type(self).__name__, num=(self.num, 1))
        check_span(type(self).__name__, self.span)

    @abc.abstractmethod
    def __call__(self, t: Any) -> Float[Array, " num"]:
        """φ at time t."""

    @property
    @abc.abstractmethod
    def unit(self) -> tuple[float, ...]:
        """Coefficients with which the functions add up to 1 at all times."""

    def share(self, t: Any) -> Float[Array, ""]:
        """(t - t0) / (t1 - t0)."""
        t = jnp.asarray(t)
        t = t if jnp.issubdtype(t.dtype, jnp.floating) else t.astype(float)
        return (t - self.span[0]) / (self.span[1] - self.span[0])


class Polynomials(AbstractTimeBasis):
    """The Legendre polynomials of degree 0 to num - 1 on the span; see `AbstractTimeBasis`.

    Example:
        >>> import node_jax as nj
        >>> nj.fields.Polynomials(3)(1.0).tolist()
        [1.0, 1.0, 1.0]
    """

    def __call__(self, t: Any) -> Float[Array, " num"]:
        """(k + 1) P_{k+1}(x) = (2 k + 1) x P_k(x) - k P_{k-1}(x), with x from -1 to 1."""
        x = 2 * jnp.clip(self.share(t), 0.0, 1.0) - 1
        found = [jnp.ones_like(x), x]
        for k in range(1, self.num - 1):
            found.append(((2 * k + 1) * x * found[k] - k * found[k - 1]) / (k + 1))
        return jnp.stack(found[: self.num])

    @property
    def unit(self) -> tuple[float, ...]:
        """The constant is the first."""
        return (1.0, *[0.0] * (self.num - 1))


class Fourier(AbstractTimeBasis):
    """1, cos 2πs, sin 2πs, cos 4πs, ... with s the share of the span, which is the period; see `AbstractTimeBasis`.

    Example:
        >>> import node_jax as nj
        >>> nj.fields.Fourier(3, span=(0.0, 24.0))(12.0)[:2].tolist()
        [1.0, -1.0]
    """

    def __call__(self, t: Any) -> Float[Array, " num"]:
        """The terms at time t."""
        s = self.share(t)
        waves = [wave(2 * jnp.pi * k * s) for k in range(1, self.num // 2 + 1) for wave in (jnp.cos, jnp.sin)]
        return jnp.stack([jnp.ones_like(s), *waves][: self.num])

    @property
    def unit(self) -> tuple[float, ...]:
        """The constant is the first."""
        return (1.0, *[0.0] * (self.num - 1))


class PiecewiseConstant(AbstractTimeBasis):
    """1 in one of `num` equal parts of the span, 0 in the others; see `AbstractTimeBasis`.

    A field with it jumps at the borders: an adaptive solve takes them in stride with
    `controller=nj.PIController(jump_ts=basis.borders)`, and with rejected steps without.

    Example:
        >>> import node_jax as nj
        >>> nj.fields.PiecewiseConstant(4)(0.3).tolist()
        [0.0, 1.0, 0.0, 0.0]
    """

    def __call__(self, t: Any) -> Float[Array, " num"]:
        """The parts at time t; a border belongs to the part that begins there, and the end of the span to the last."""
        # Compared with the borders themselves: a time that is less by one rounding is in the part before.
        dtype = self.share(t).dtype
        part = jnp.sum(jnp.asarray(t, dtype) >= jnp.asarray(self.borders, dtype))
        return (jnp.arange(self.num) == part).astype(dtype)

    @property
    def unit(self) -> tuple[float, ...]:
        """All parts together."""
        return (1.0,) * self.num

    @property
    def borders(self) -> tuple[float, ...]:
        """The times between two parts."""
        start, end = self.span
        return tuple(start + (end - start) * k / self.num for k in range(1, self.num))


class PiecewiseLinear(AbstractTimeBasis):
    """Hats: 1 at one of `num` equally spaced times of the span, 0 at the others, straight lines between.

    See `AbstractTimeBasis`. A field with it is continuous in time, and has kinks.

    Example:
        >>> import node_jax as nj
        >>> nj.fields.PiecewiseLinear(3)(0.25).tolist()
        [0.5, 0.5, 0.0]
    """

    def __call__(self, t: Any) -> Float[Array, " num"]:
        """The hats at time t."""
        place = jnp.clip(self.share(t), 0.0, 1.0) * max(1, self.num - 1)
        hats = jnp.maximum(0.0, 1 - jnp.abs(place - jnp.arange(self.num)))
        return hats if self.num > 1 else jnp.ones_like(hats)

    @property
    def unit(self) -> tuple[float, ...]:
        """All hats together."""
        return (1.0,) * self.num
