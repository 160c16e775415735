"""The methods as data: adding a method means adding an entry here.

A tableau is stored with one stage more than the textbook's where the method is not "first same as last" (FSAL):
the last row of `a` equals the weights, so that the last stage is f(t1, y1). The next step starts with it, and the
cubic Hermite interpolant needs it, at no extra evaluation for an accepted step.
"""

from dataclasses import dataclass

from node_jax.interpolate.dense import Polynomial, bridge_polynomials, hermite_bridge


@dataclass(frozen=True)
class ButcherTableau:
    """An explicit Runge-Kutta method with its dense output.

    k_i = f(t0 + c_i dt, y0 + dt Σ_j a_ij k_j),  y1 = y0 + dt Σ_i a_last,i k_i,  error = dt Σ_i error_i k_i.
    """

    name: str
    order: int
    c: tuple[float, ...]
    """Nodes, one a stage."""
    a: tuple[tuple[float, ...], ...]
    """Rows of stages 2, 3, ...; the last row holds the weights of the step."""
    error: tuple[float, ...] | None
    """Weights of the local error estimate (main minus embedded), one a stage; `None` without an embedded method."""
    bridge: tuple[Polynomial, ...]
    """The polynomials q_i(θ) of the dense output, one a stage."""

    def __post_init__(self) -> None:
        stages = len(self.c)
        if [len(row) for row in self.a] != list(range(1, stages)):
            raise ValueError(f"{self.name}: row i of `a` must hold the i coefficients left of the diagonal")
        if len(self.bridge) != stages or (self.error is not None and len(self.error) != stages):
            raise ValueError(f"{self.name}: `bridge` and `error` need one entry a stage, {stages}")

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights b_i, one a stage; 0 for the last."""
        return (*self.a[-1], 0.0)


_RK4_WEIGHTS = (1 / 6, 1 / 3, 1 / 3, 1 / 6)

RK4 = ButcherTableau(
    name="RK4",
    order=4,
    c=(0.0, 0.5, 0.5, 1.0, 1.0),
    a=((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0), _RK4_WEIGHTS),
    error=None,
    bridge=hermite_bridge((*_RK4_WEIGHTS, 0.0)),
)
"""The classical method. Kutta (1901), Z. Math. Phys. 46, 435-453. Dense output: cubic Hermite."""

_TSIT5_WEIGHTS = (
    0.09646076681806523,
    0.01,
    0.4798896504144996,
    1.379008574103742,
    -3.290069515436081,
    2.324710524099774,
)


def _expand(scale: float, *roots_and_quadratic: tuple[float, ...]) -> Polynomial:
    """The product of a scale and polynomials given by rising coefficients."""
    product = [scale]
    for factor in roots_and_quadratic:
        longer = [0.0] * (len(product) + len(factor) - 1)
        for i, x in enumerate(product):
            for j, y in enumerate(factor):
                longer[i + j] += x * y
        product = longer
    return tuple(product)


_THETA = (0.0, 1.0)
_THETA_SQUARED = (0.0, 0.0, 1.0)

TSIT5 = ButcherTableau(
    name="Tsit5",
    order=5,
    c=(0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    a=(
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
        _TSIT5_WEIGHTS,
    ),
    error=(
        0.00178001105222577714,
        0.0008164344596567469,
        -0.007880878010261995,
        0.1447110071732629,
        -0.5823571654525552,
        0.45808210592918697,
        -1 / 66,
    ),
    bridge=bridge_polynomials(
        (
            _expand(
                -1.0530884977290216,
                _THETA,
                (-1.3299890189751412, 1.0),
                (0.7139816917074209, -1.4364028541716351, 1.0),
            ),
            _expand(0.1017, _THETA_SQUARED, (1.2949852507374631, -2.1966568338249754, 1.0)),
            _expand(2.490627285651252793, _THETA_SQUARED, (1.57803468208092486, -2.38535645472061657, 1.0)),
            _expand(
                -16.54810288924490272,
                _THETA_SQUARED,
                (-1.21712927295533244, 1.0),
                (-0.61620406037800089, 1.0),
            ),
            _expand(
                47.37952196281928122,
                _THETA_SQUARED,
                (-1.203071208372362603, 1.0),
                (-0.658047292653547382, 1.0),
            ),
            _expand(-34.87065786149660974, _THETA_SQUARED, (-1.2, 1.0), (-2 / 3, 1.0)),
            _expand(2.5, _THETA_SQUARED, (-1.0, 1.0), (-0.6, 1.0)),
        ),
        (*_TSIT5_WEIGHTS, 0.0),
    ),
)
"""Tsitouras (2011), Comput. Math. Appl. 62, 770-775, doi:10.1016/j.camwa.2011.06.002: order 5(4), FSAL, with its own
dense output of order 4."""
