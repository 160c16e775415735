"""The methods as data: adding a method means adding an entry here.

A tableau is stored with one stage more than the textbook's where the method is not "first same as last" (FSAL):
the last row of `a` equals the weights, so that the last stage is f(t1, y1). The next step starts with it, and the
cubic Hermite interpolant needs it, at no extra evaluation for an accepted step.
"""

from dataclasses import dataclass

from node_jax.interpolate.dense import Polynomial, bridge_polynomials


@dataclass(frozen=True)
class ButcherTableau:
    """An explicit Runge-Kutta method with its dense output.

    k_i = f(t0 + c_i dt, y0 + dt Σ_j a_ij k_j),  y1 = y0 + dt Σ_i a_last,i k_i,  error = dt Σ_i error_i k_i.
    Stages that only the dense output needs go on counting where those of the step end.
    """

    name: str
    order: int
    c: tuple[float, ...]
    """Nodes, one a stage."""
    a: tuple[tuple[float, ...], ...]
    """Rows of stages 2, 3, ...; the last row holds the weights of the step."""
    error: tuple[float, ...] | None
    """Weights of the local error estimate (main minus embedded), one a stage; `None` without an embedded method."""
    dense_order: int
    """Order of the dense output: its error within a step is of order dt^(dense_order + 1)."""
    bridge: tuple[Polynomial, ...] = ()
    """The polynomials q_i(θ) of the dense output (see `node_jax.interpolate.dense`), one a stage, those of dense output
    included; none for the cubic Hermite interpolant."""
    dense_c: tuple[float, ...] = ()
    """Nodes of the stages that only the dense output needs."""
    dense_a: tuple[tuple[float, ...], ...] = ()
    """Rows of the stages that only the dense output needs."""

    def __post_init__(self) -> None:
        stages = len(self.c)
        dense_stages = stages + len(self.dense_c)
        if [len(row) for row in (*self.a, *self.dense_a)] != list(range(1, dense_stages)):
            raise ValueError(f"{self.name}: row i of `a` must hold the i coefficients left of the diagonal")
        if len(self.bridge) not in (0, dense_stages) or (self.error is not None and len(self.error) != stages):
            raise ValueError(
                f"{self.name}: `bridge` needs one entry a stage, {dense_stages}, or none, and `error` one a stage of "
                f"the step, {stages}"
            )

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights b_i, one a stage of the step; 0 for the last."""
        return (*self.a[-1], 0.0)


def _with_hermite(
    name: str, order: int, c: tuple[float, ...], a: tuple[tuple[float, ...], ...], error: tuple[float, ...] | None
) -> ButcherTableau:
    """A tableau whose dense output is the cubic Hermite interpolant."""
    return ButcherTableau(name, order, c, a, error, dense_order=min(order, 3))


EULER = _with_hermite("Euler", 1, (0.0, 1.0), ((1.0,),), None)
"""Euler (1768), Institutionum calculi integralis."""

MIDPOINT = _with_hermite("Midpoint", 2, (0.0, 0.5, 1.0), ((0.5,), (0.0, 1.0)), (-1.0, 1.0, 0.0))
"""The explicit midpoint rule, with Euler's method embedded. Runge (1895), Math. Ann. 46, 167-178."""

HEUN = _with_hermite("Heun", 2, (0.0, 1.0, 1.0), ((1.0,), (0.5, 0.5)), (-0.5, 0.5, 0.0))
"""The explicit trapezoidal rule, with Euler's method embedded. Heun (1900), Z. Math. Phys. 45, 23-38."""

RALSTON = _with_hermite("Ralston", 2, (0.0, 2 / 3, 1.0), ((2 / 3,), (0.25, 0.75)), (-0.75, 0.75, 0.0))
"""Order 2 with the smallest error bound, Euler's method embedded. Ralston (1962), Math. Comp. 16, 431-437."""

BOSH3 = _with_hermite(
    "Bosh3",
    3,
    (0.0, 0.5, 0.75, 1.0),
    ((0.5,), (0.0, 0.75), (2 / 9, 1 / 3, 4 / 9)),
    (-5 / 72, 1 / 12, 1 / 9, -1 / 8),
)
"""Bogacki & Shampine (1989), Appl. Math. Lett. 2, 321-325, doi:10.1016/0893-9659(89)90079-7: order 3(2), FSAL."""

_DOPRI5_WEIGHTS = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)

DOPRI5 = ButcherTableau(
    name="Dopri5",
    order=5,
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    a=(
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        _DOPRI5_WEIGHTS,
    ),
    error=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
    bridge=bridge_polynomials(
        (
            (
                0.0,
                1.0,
                -8048581381 / 2820520608,
                8663915743 / 2820520608,
                -12715105075 / 11282082432,
            ),
            (0.0, 0.0, 0.0, 0.0, 0.0),
            (0.0, 0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
            (0.0, 0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
            (0.0, 0.0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632),
            (0.0, 0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
            (0.0, 0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
        ),
        (*_DOPRI5_WEIGHTS, 0.0),
    ),
    dense_order=4,
)
"""Dormand & Prince (1980), J. Comput. Appl. Math. 6, 19-26, doi:10.1016/0771-050X(80)90013-3: order 5(4), FSAL.
Dense output of order 4: Shampine (1986), Math. Comp. 46, 135-150, doi:10.1090/S0025-5718-1986-0815836-3."""

_RK4_WEIGHTS = (1 / 6, 1 / 3, 1 / 3, 1 / 6)

RK4 = _with_hermite("RK4", 4, (0.0, 0.5, 0.5, 1.0, 1.0), ((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0), _RK4_WEIGHTS), None)
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
    dense_order=4,
)
"""Tsitouras (2011), Comput. Math. Appl. 62, 770-775, doi:10.1016/j.camwa.2011.06.002: order 5(4), FSAL, with its own
dense output of order 4."""

_CASH_KARP_WEIGHTS = (37 / 378, 0.0, 250 / 621, 125 / 594, 0.0, 512 / 1771)

CASH_KARP5 = _with_hermite(
    "CashKarp5",
    5,
    (0.0, 1 / 5, 3 / 10, 3 / 5, 1.0, 7 / 8, 1.0),
    (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (3 / 10, -9 / 10, 6 / 5),
        (-11 / 54, 5 / 2, -70 / 27, 35 / 27),
        (1631 / 55296, 175 / 512, 575 / 13824, 44275 / 110592, 253 / 4096),
        _CASH_KARP_WEIGHTS,
    ),
    (
        _CASH_KARP_WEIGHTS[0] - 2825 / 27648,
        0.0,
        _CASH_KARP_WEIGHTS[2] - 18575 / 48384,
        _CASH_KARP_WEIGHTS[3] - 13525 / 55296,
        -277 / 14336,
        _CASH_KARP_WEIGHTS[5] - 1 / 4,
        0.0,
    ),
)
"""Cash & Karp (1990), ACM Trans. Math. Softw. 16, 201-222, doi:10.1145/79505.79507: order 5(4), not FSAL: its error
estimate needs no f(t1, y1)."""

_BOSH5_WEIGHTS = (
    587 / 8064,
    0.0,
    4440339 / 15491840,
    24353 / 124800,
    387 / 44800,
    2152 / 5985,
    7267 / 94080,
)

BOSH5 = ButcherTableau(
    name="Bosh5",
    order=5,
    c=(0.0, 1 / 6, 2 / 9, 3 / 7, 2 / 3, 3 / 4, 1.0, 1.0),
    a=(
        (1 / 6,),
        (2 / 27, 4 / 27),
        (183 / 1372, -162 / 343, 1053 / 1372),
        (68 / 297, -4 / 11, 42 / 143, 1960 / 3861),
        (597 / 22528, 81 / 352, 63099 / 585728, 58653 / 366080, 4617 / 20480),
        (174197 / 959244, -30942 / 79937, 8152137 / 19744439, 666106 / 1039181, -29421 / 29068, 482048 / 414219),
        _BOSH5_WEIGHTS,
    ),
    error=(
        _BOSH5_WEIGHTS[0] - 2479 / 34992,
        0.0,
        _BOSH5_WEIGHTS[2] - 123 / 416,
        _BOSH5_WEIGHTS[3] - 612941 / 3411720,
        _BOSH5_WEIGHTS[4] - 43 / 1440,
        _BOSH5_WEIGHTS[5] - 2272 / 6561,
        _BOSH5_WEIGHTS[6] - 79937 / 1113912,
        -3293 / 556956,
    ),
    bridge=(
        (-2927043488237 / 1470741793920, 6918746667 / 5836276960),
        (0.0, 0.0),
        (2702117711523807 / 565091680375040, -14071997888919 / 2883120818240),
        (-119259488719427 / 40970664259200, 2582696138393 / 379358002400),
        (3789240739983 / 1634157548800, -285784868817 / 58362769600),
        (-2196733967464 / 654939705105, 4887837472 / 3465289445),
        (276724533137 / 228782056832, -5528580993 / 1167255392),
        (-2003600 / 36476731, 186390855 / 36476731),
    ),
    dense_order=4,
)
"""Bogacki & Shampine (1996), Comput. Math. Appl. 32, 15-28, doi:10.1016/0898-1221(96)00141-1: order 5(4), FSAL, of its
two embedded methods the one with all stages.

Its authors' dense output of order 5 takes three more stages. This one of order 4 takes none: the order leaves two of
the q_i(θ) free, which make the sum of squares of the principal error coefficients as small as it can be at every θ.
"""
