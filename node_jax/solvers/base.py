"""What a time loop needs of a method."""

import abc
from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Bool

from node_jax.interpolate.dense import Polynomial
from node_jax.tree import tree_scale, tree_weighted_sum, tree_zeros
from node_jax.types import State, Time


class Step(NamedTuple):
    """The result of one step from (t0, z0) to (t0 + dt, z1)."""

    z1: State
    """The new internal state; `solver.read(z1)` is y1."""
    f1: State | None
    """What the next step takes as its `f0`, for a method that is first same as last; else `None`. It is f(t1, y1) for
    an explicit Runge-Kutta method; others may have evaluated the field at a copy of y1, or only half of it there."""
    stages: tuple[State | None, ...]
    """The stage derivatives k_i that the dense output needs: first the slope at the start, and as number
    `solver.last_stage` that at the end. After a step with `dense=False` those that only the dense output needs are not
    there, or zero if `dense` is traced."""
    error: State | None
    """The estimate of the local error of y1, `None` for a method without one."""


class AbstractSolver(eqx.Module):
    """A one-step method with dense output. Its coefficients are static; a loop calls it, it never loops.

    A loop carries the method's internal state z. For most methods that is y itself; a method with a second copy of the
    state, or with memory of the step before, keeps it in z as well.
    """

    @property
    @abc.abstractmethod
    def order(self) -> int:
        """Order of the error of a whole solve: halving dt divides it by 2^order."""

    @property
    @abc.abstractmethod
    def has_error_estimate(self) -> bool:
        """Whether `Step.error` is there, which an adaptive controller needs."""

    @property
    def sees_last_stage(self) -> bool:
        """Whether `Step.error` is finite only if `Step.f1` is."""
        return False

    @property
    def runs_stages_in_loop(self) -> bool:
        """Whether the stages of a step are passes of one loop, so that none is left out where nothing reads it."""
        return False

    @property
    def is_fsal(self) -> bool:
        """First same as last: whether a step takes f0 from the step before, as `Step.f1`."""
        return True

    @property
    def ends_in_slope(self) -> bool:
        """Whether `Step.f1` is evaluated at z1, so that z1 does not depend on it."""
        return False

    @property
    def is_slope_exact(self) -> bool:
        """Whether `Step.f1` equals `slope` at (t1, z1) in all its parts, not only in those that the next step needs."""
        return True

    @property
    def is_plain(self) -> bool:
        """Whether the method steps any state, and its internal state is y itself: tapes keep y alone then."""
        return True

    @abc.abstractmethod
    def num_evals(self, dense: bool) -> int:
        """Field evaluations of one attempted step, given `f0`; with `dense`, what dense output needs beyond it."""

    @property
    def bridge(self) -> tuple[Polynomial, ...]:
        """The polynomials q_i(θ) of the dense output, one a stage (see `node_jax.interpolate.dense`); none for cubic
        Hermite interpolation, which the slopes at both ends are enough for.
        """
        return ()

    def start(self, y0: State) -> State:
        """The internal state z at the start of a solve; `y0` itself unless the method says otherwise."""
        return y0

    def read(self, z: State) -> State:
        """The state y in an internal state z."""
        return z

    def gap(self, z: State) -> State | None:
        """The difference of the two copies of the state in z, which measures their decoupling; `None` with one copy."""
        del z
        return None

    def check_state(self, y0: State) -> None:
        """Raise `ValueError` for a state whose structure the method cannot step; called before anything is traced."""
        del y0

    @abc.abstractmethod
    def step(
        self,
        field: Callable[[Time, State], State],
        t0: Time,
        dt: Time,
        z0: State,
        f0: State | None,
        *,
        dense: bool | Bool[Array, ""] = True,
        with_slope: bool = True,
    ) -> Step:
        """One step.

        Arguments:
            field: dy/dt = field(t, y).
            t0: time at the start of the step.
            dt: signed step size.
            z0: internal state at `t0`.
            f0: `Step.f1` of the step before, or `field(t0, y0)`; `None` lets the method evaluate it.
            dense: whether dense output will be read, for methods that spend evaluations on it alone; may be traced.
            with_slope: whether `Step.f1` and the error are wanted. Without, a method may leave out the stage f(t1, y1),
                which is `None` in `Step.stages` then.
        """

    @property
    def has_stiffness_estimate(self) -> bool:
        """Whether `stiffness` is there."""
        return False

    def stiffness(self, dt: Time, z0: State, step: Step) -> Time:
        """An estimate of the largest |eigenvalue| of the Jacobian, in 1/time, from a finished step."""
        del dt, z0, step
        raise NotImplementedError(f"{type(self).__name__} has no stiffness estimate")

    @property
    def num_coefficients(self) -> int:
        """How many the dense output has beside y0 and y1: the slopes at both ends, and one a power of θ in the q_i."""
        return 2 + max((len(q) for q in self.bridge), default=0)

    @property
    def last_stage(self) -> int:
        """Which of `Step.stages` is the slope at the end: `Step.f1`, for a method that is first same as last."""
        return max(2, len(self.bridge)) - 1

    @property
    def num_dense_stages(self) -> int:
        """How many of `Step.stages` the dense output may need."""
        return max(len(self.bridge), self.last_stage + 1)

    def slope(self, field: Callable[[Time, State], State], t: Time, z: State) -> State:
        """What a step that starts at (t, z) takes as `f0`: `field(t, y)` unless the method says otherwise."""
        return field(t, self.read(z))

    def coefficients(self, dt: Time, stages: tuple[State, ...]) -> tuple[State, ...]:
        """The coefficients of a step's dense output: dt k_first, dt k_last and C_p = dt Σ_i q_ip k_i (see `DensePath`).

        Arguments:
            dt: signed step size.
            stages: `Step.stages`.
        """
        sums = [
            tree_weighted_sum([q[p] if p < len(q) else 0.0 for q in self.bridge], stages)
            for p in range(self.num_coefficients - 2)
        ]
        zeros = tree_zeros(stages[0])
        parts = (stages[0], stages[self.last_stage], *(zeros if total is None else total for total in sums))
        return tuple(tree_scale(dt, part) for part in parts)

    def stage_cotangent(self, stage: int, coefficients: Sequence[State]) -> State | None:
        """The transpose of `coefficients` for one stage i, over dt: [i is first] F̄ + [i is last] Ḡ + Σ_p q_ip C̄_p.

        Arguments:
            stage: which one, i.
            coefficients: the cotangents F̄, Ḡ and C̄_p, in the order of `coefficients`, each of the state's shapes.

        Returns:
            k̄_i / dt, or `None` if the stage enters no coefficient.
        """
        bridge = self.bridge[stage] if self.bridge else ()
        weights = (float(stage == 0), float(stage == self.last_stage), *bridge)
        return tree_weighted_sum(weights, coefficients[: len(weights)])
