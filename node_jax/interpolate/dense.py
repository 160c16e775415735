r"""Dense output of one Runge-Kutta step, exact at both ends.

Every continuous extension  y(θ) = y0 + dt Σ_i b_i(θ) k_i  with b_i(0) = 0 and b_i(1) = b_i can be written as

    y(θ) = y0 + θ (y1 - y0) + θ (1 - θ) dt Σ_i q_i(θ) k_i,        q_i(θ) = (b_i(θ)/θ - b_i) / (1 - θ).

The second form meets y0 and y1 whatever the rounding of the q_i, which matters in float32, and at θ = 1 it needs no
stage at all. Methods differ in the polynomials q_i alone, so these are data of the tableau.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Array, Float

Polynomial: TypeAlias = tuple[float, ...]
"""Coefficients in rising powers: `(c0, c1, c2)` is c0 + c1 θ + c2 θ²."""


def bridge_polynomials(extension: Sequence[Polynomial], weights: Sequence[float]) -> tuple[Polynomial, ...]:
    """The q_i of a published continuous extension b_i(θ).

    Arguments:
        extension: the b_i(θ), one polynomial a stage, each without a constant term.
        weights: the weights b_i of the step.

    Returns:
        One polynomial q_i a stage, of two degrees less.
    """
    bridges: list[Polynomial] = []
    for polynomial, weight in zip(extension, weights, strict=True):
        over_theta = np.asarray(polynomial[1:], np.float64)
        over_theta[0] -= weight
        quotient = np.asarray(np.polynomial.polynomial.polydiv(over_theta, np.array([1.0, -1.0]))[0])
        bridges.append(tuple(float(c) for c in quotient.tolist()))
    return tuple(bridges)


def hermite_bridge(weights: Sequence[float]) -> tuple[Polynomial, ...]:
    """The q_i of the cubic Hermite interpolant, for a tableau whose last stage is f(t1, y1).

    From Hairer, Norsett & Wanner (1993), II.6, eq. 6.7:
    y(θ) = (1-θ) y0 + θ y1 + θ(θ-1) [(1-2θ)(y1-y0) + (θ-1) dt k_first + θ dt k_last].
    """
    bridges = [[-weight, 2.0 * weight] for weight in weights]
    bridges[0] = [bridges[0][0] + 1.0, bridges[0][1] - 1.0]
    bridges[-1] = [bridges[-1][0], bridges[-1][1] - 1.0]
    return tuple((c0, c1) for c0, c1 in bridges)


def horner(polynomial: Polynomial, theta: Float[Array, "..."]) -> Float[Array, "..."] | float:
    """The polynomial's value; the Python float 0.0 for a polynomial that is zero, so that it costs nothing."""
    if not any(polynomial):
        return 0.0
    value: Any = polynomial[-1]
    for coefficient in reversed(polynomial[:-1]):
        value = value * theta + coefficient
    return value


def horner_derivative(polynomial: Polynomial, theta: Float[Array, "..."]) -> Float[Array, "..."] | float:
    """The derivative of the polynomial with respect to θ."""
    return horner(tuple(i * c for i, c in enumerate(polynomial))[1:] or (0.0,), theta)
