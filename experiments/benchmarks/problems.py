"""Initial value problems, written once for jax and once for SciPy, with tight references.

A1 to E5 are DETEST: Hull, Enright, Fellen & Sedgwick (1972), "Comparing numerical methods for ordinary differential
equations", SIAM J. Numer. Anal. 9, 603-637, doi:10.1137/0709052. Robertson and HIRES are those of Hairer & Wanner
(1996), Solving Ordinary Differential Equations II, IV.10.
"""

# Every derivative has the arguments (np, t, y), whatever it uses of them.
# ruff: noqa: ARG005

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

NUM_TIMES = 41
"""Times of a reference, the two ends included."""

_Derivative = Callable[[ModuleType, Any, Any], Any]


@dataclass(frozen=True)
class Problem:
    """dy/dt = derivative(np, t, y) from y(0) = y0 to t1; `np` is numpy or `jax.numpy`."""

    name: str
    family: str
    derivative: _Derivative
    y0: tuple[float, ...]
    t1: float
    is_stiff: bool = False

    def field(self, t: Any, y: Any, args: Any) -> Any:
        """The field for `nj.odeint` and for diffrax."""
        del args
        return self.derivative(jnp, t, y)

    def scipy_field(self, t: float, y: np.ndarray) -> np.ndarray:
        """The field for SciPy."""
        return self.derivative(np, t, y)

    @property
    def ts(self) -> np.ndarray:
        """Equally spaced times of the reference."""
        return np.linspace(0.0, self.t1, NUM_TIMES)

    @functools.cache  # noqa: B019 - the problems are constants of the module
    def reference(self) -> np.ndarray:
        """y at `ts`, shape (time, dim): DOP853, or Radau for a stiff problem, close to the rounding of float64."""
        method, rtol = ("Radau", 1e-12) if self.is_stiff else ("DOP853", 2.3e-14)
        scale = max(1e-6, max(abs(value) for value in self.y0))
        solution = solve_ivp(
            self.scipy_field, (0.0, self.t1), self.y0, method, t_eval=self.ts, rtol=rtol, atol=1e-14 * scale
        )
        if not solution.success:
            raise RuntimeError(f"{self.name}: the reference failed: {solution.message}")
        return solution.y.T


def _chain(rates: tuple[float, ...]) -> _Derivative:
    """Decay from one kind to the next: kind i decays at rates[i], the last is stable."""

    def derivative(np: ModuleType, t: Any, y: Any) -> Any:
        del t
        lost = np.asarray(rates) * y
        return np.concatenate([-lost[:1], lost[:-1] - lost[1:]])

    return derivative


def _diffusion(np: ModuleType, t: Any, y: Any) -> Any:
    """The second difference with zeros beyond both ends."""
    del t
    zero = np.zeros_like(y[:1])
    return np.concatenate([y[1:], zero]) - 2 * y + np.concatenate([zero, y[:-1]])


_SUN_MASS = 1.00000597682
_GRAVITY = 2.95912208286
_MASSES = (0.954786104043e-3, 0.285583733151e-3, 0.437273164546e-4, 0.517759138449e-4, 0.277777777778e-5)
_PLANETS = (
    (3.42947415189, 3.35386959711, 1.35494901715),
    (6.64145542550, 5.97156957878, 2.18231499728),
    (11.2630437207, 14.6952576794, 6.27960525067),
    (-30.1552268759, 1.65699966404, 1.43785752721),
    (-21.1238353380, 28.4465098142, 15.3882659679),
    (-0.557160570446, 0.505696783289, 0.230578543901),
    (-0.415570776342, 0.365682722812, 0.169143213293),
    (-0.325325669158, 0.189706021964, 0.0877265322780),
    (-0.0240476254170, -0.287659532608, -0.117219543175),
    (-0.176860753121, -0.216393453025, -0.0148647893090),
)


def _five_planets(np: ModuleType, t: Any, y: Any) -> Any:
    """Newton's equations of five planets relative to the sun."""
    del t
    position = y[:15].reshape(5, 3)
    masses = np.asarray(_MASSES)
    between = position[None, :, :] - position[:, None, :]
    distance = np.sum(between**2, axis=-1) + np.eye(5)
    to_sun = position / (np.sum(position**2, axis=-1) ** 1.5)[:, None]
    # The diagonal of `between` is zero, so that the identity above only avoids 0 / 0; no planet pulls on itself.
    pull = between / (distance**1.5)[:, :, None] - (1 - np.eye(5))[:, :, None] * to_sun[None, :, :]
    others = np.sum(masses[None, :, None] * pull, axis=1)
    acceleration = _GRAVITY * (others - (_SUN_MASS + masses)[:, None] * to_sun)
    return np.concatenate([y[15:], acceleration.reshape(15)])


def _two_bodies(np: ModuleType, t: Any, y: Any) -> Any:
    del t
    cubed = (y[0] ** 2 + y[1] ** 2) ** 1.5
    return np.stack([y[2], y[3], -y[0] / cubed, -y[1] / cubed])


def _orbit(name: str, eccentricity: float) -> Problem:
    speed = ((1 + eccentricity) / (1 - eccentricity)) ** 0.5
    return Problem(name, "D: orbits", _two_bodies, (1 - eccentricity, 0.0, 0.0, speed), 20.0)


def _circling(np: ModuleType, t: Any, y: Any) -> Any:
    """B4: a curve that winds around a torus."""
    del t
    radius = np.sqrt(y[0] ** 2 + y[1] ** 2)
    return np.stack([-y[1] - y[0] * y[2] / radius, y[0] - y[1] * y[2] / radius, y[0] / radius])


def _hires(np: ModuleType, t: Any, y: Any) -> Any:
    """The chemistry of a plant's growth in light."""
    del t
    bound = 280 * y[5] * y[7]
    return np.stack(
        [
            -1.71 * y[0] + 0.43 * y[1] + 8.32 * y[2] + 0.0007,
            1.71 * y[0] - 8.75 * y[1],
            -10.03 * y[2] + 0.43 * y[3] + 0.035 * y[4],
            8.32 * y[1] + 1.71 * y[2] - 1.12 * y[3],
            -1.745 * y[4] + 0.43 * y[5] + 0.43 * y[6],
            -bound + 0.69 * y[3] + 1.71 * y[4] - 0.43 * y[5] + 0.69 * y[6],
            bound - 1.81 * y[6],
            -bound + 1.81 * y[6],
        ]
    )


def _robertson(np: ModuleType, t: Any, y: Any) -> Any:
    """Three reactions whose rates differ by nine orders of magnitude."""
    del t
    slow, fast, faster = 0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
    return np.stack([fast - slow, slow - fast - faster, faster])


def van_der_pol(np: ModuleType, t: Any, y: Any) -> Any:
    """The oscillator of van der Pol (1926) with a damping of 1."""
    del t
    return np.stack([y[1], (1 - y[0] ** 2) * y[1] - y[0]])


def lorenz(np: ModuleType, t: Any, y: Any, rho: Any = 28) -> Any:
    """Lorenz's system with σ = 10 and β = 8/3; its three components along the first axis of `y`."""
    del t
    return np.stack([10 * (y[1] - y[0]), y[0] * (rho - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]])


_A, _B, _C, _E = "A: single equations", "B: small systems", "C: moderate systems", "E: second order"
_OTHER, _STIFF = "others", "stiff"
_UNIT = (1.0, *[0.0] * 9)

DETEST = (
    Problem("A1", _A, lambda np, t, y: -y, (1.0,), 20.0),
    Problem("A2", _A, lambda np, t, y: -(y**3) / 2, (1.0,), 20.0),
    Problem("A3", _A, lambda np, t, y: y * np.cos(t), (1.0,), 20.0),
    Problem("A4", _A, lambda np, t, y: y / 4 * (1 - y / 20), (1.0,), 20.0),
    Problem("A5", _A, lambda np, t, y: (y - t) / (y + t), (4.0,), 20.0),
    Problem("B1", _B, lambda np, t, y: np.stack([2 * (y[0] - y[0] * y[1]), y[0] * y[1] - y[1]]), (1.0, 3.0), 20.0),
    Problem("B2", _B, lambda np, t, y: np.stack([y[1] - y[0], y[0] - 2 * y[1] + y[2], y[1] - y[2]]), (2.0, 0, 1), 20.0),
    Problem("B3", _B, lambda np, t, y: np.stack([-y[0], y[0] - y[1] ** 2, y[1] ** 2]), (1.0, 0.0, 0.0), 20.0),
    Problem("B4", _B, _circling, (3.0, 0.0, 0.0), 20.0),
    Problem(
        "B5", _B, lambda np, t, y: np.stack([y[1] * y[2], -y[0] * y[2], -0.51 * y[0] * y[1]]), (0.0, 1.0, 1.0), 20.0
    ),
    Problem("C1", _C, _chain((*[1.0] * 9, 0.0)), _UNIT, 20.0),
    Problem("C2", _C, _chain((*[float(i) for i in range(1, 10)], 0.0)), _UNIT, 20.0),
    Problem("C3", _C, _diffusion, _UNIT, 20.0),
    Problem("C4", _C, _diffusion, (1.0, *[0.0] * 50), 20.0),
    Problem("C5", _C, _five_planets, tuple(x for row in _PLANETS for x in row), 20.0),
    *(_orbit(f"D{i}", eccentricity) for i, eccentricity in enumerate((0.1, 0.3, 0.5, 0.7, 0.9), 1)),
    Problem(
        "E1",
        _E,
        lambda np, t, y: np.stack([y[1], -(y[1] / (t + 1) + (1 - 0.25 / (t + 1) ** 2) * y[0])]),
        (0.671396707141803, 0.0954005144474744),
        20.0,
    ),
    Problem("E2", _E, van_der_pol, (2.0, 0.0), 20.0),
    Problem(
        "E3",
        _E,
        lambda np, t, y: np.stack([y[1], y[0] ** 3 / 6 - y[0] + 2 * np.sin(2.78535 * t)]),
        (0.0, 0.0),
        20.0,
    ),
    Problem("E4", _E, lambda np, t, y: np.stack([y[1], 0.032 - 0.4 * y[1] ** 2]), (30.0, 0.0), 20.0),
    Problem("E5", _E, lambda np, t, y: np.stack([y[1], np.sqrt(1 + y[1] ** 2) / (25 - t)]), (0.0, 0.0), 20.0),
)

OTHERS = (
    Problem("pendulum", _OTHER, lambda np, t, y: np.stack([y[1], -np.sin(y[0])]), (2.5, 0.0), 20.0),
    Problem(
        "cubic spiral",
        _OTHER,
        lambda np, t, y: np.stack([-0.1 * y[0] ** 3 + 2 * y[1] ** 3, -2 * y[0] ** 3 - 0.1 * y[1] ** 3]),
        (2.0, 0.0),
        25.0,
    ),
    Problem(
        "Lotka-Volterra",
        _OTHER,
        lambda np, t, y: np.stack([1.5 * y[0] - y[0] * y[1], y[0] * y[1] - 3 * y[1]]),
        (1.0, 1.0),
        20.0,
    ),
    Problem(
        "Lorenz",
        _OTHER,
        lorenz,
        (1.0, 1.0, 1.0),
        5.0,
    ),
)

STIFF = (
    Problem("Robertson", _STIFF, _robertson, (1.0, 0.0, 0.0), 1e4, is_stiff=True),
    Problem("HIRES", _STIFF, _hires, (1.0, 0, 0, 0, 0, 0, 0, 0.0057), 321.8122, is_stiff=True),
)
