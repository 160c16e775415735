"""All regularizers of a training run as one value."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.adjoints import CheckpointedAdjoint
from node_jax.integrate import Integrator
from node_jax.losses.integral_costs import AbstractIntegralCost
from node_jax.losses.parameters import l1_norm, l2_norm_squared, spectral_excess
from node_jax.losses.regression import masked_mean
from node_jax.losses.steer import steer_times
from node_jax.losses.with_costs import solve_batch_with_costs, solve_with_costs
from node_jax.solution import Solution
from node_jax.solvers import AbstractSolver
from node_jax.types import Args, Key, State, VectorField


class Regularization(eqx.Module):
    r"""Costs of solves and of parameters, with their weights.

        penalty = multiplier Σ_i w_i mean(cost_i) + Σ_j v_j penalty_j(parameters)

    with the mean over the solves that succeeded. The weights are arrays, so that another weight does not compile anew.

    Arguments:
        costs: integrals along a solve, by name; see `solve_with_costs`.
        record: sums over the solver's steps, "error" and "stiffness".
        weights: w_i of each cost and record by its name, and v_j of "l1", "l2" and "spectral" where they are wanted.
        spectral_bound: the largest singular value that "spectral" leaves alone.
        end_time_width: how far the end of a solve moves at random, in the model's time; see `steer_times`.
    """

    costs: dict[str, AbstractIntegralCost] = eqx.field(default_factory=dict)
    record: tuple[str, ...] = eqx.field(static=True, default=())
    weights: dict[str, Float[Array, ""]] = eqx.field(default_factory=dict)
    spectral_bound: float = eqx.field(static=True, default=1.0)
    end_time_width: float = eqx.field(static=True, default=0.0)

    def solve(
        self, integrator: Integrator, field: VectorField, y0: State, ts: Any, key: Key, args: Args = None
    ) -> tuple[Solution, dict[str, Float[Array, ""]]]:
        """One solve, and its costs by name; see `solve_with_costs`.

        Arguments:
            integrator, field, y0, ts, args: of the solve.
            key: random key of its end time and its probes.
        """
        ts, key = self._steer(ts, key)
        if not self.costs and not self.record:
            return integrator(field, y0, ts, args), {}
        return solve_with_costs(integrator, field, y0, ts, args, costs=self.costs, record=self.record, key=key)

    def solve_batch(
        self,
        integrator: Integrator,
        field: VectorField,
        y0s: State,
        ts: Float[Array, "batch time"],
        key: Key,
        lanes: int | None = None,
        args: Args = None,
    ) -> tuple[Solution, dict[str, Float[Array, " batch"]]]:
        """Solves from a state and over times of each, and their costs by name.

        By `integrator.batch` where solver and adjoint have it, else under `jax.vmap`.

        Arguments:
            integrator, field: shared by the solves.
            y0s: leaves with a leading axis of solves.
            ts: shape (batch, time).
            key: random key of end times and probes, of which each solve has its own.
            lanes: as in `nj.odeint_batch`.
            args: of each solve, leaves with a leading axis of solves; `None` for none.
        """
        is_native = isinstance(integrator.solver, AbstractSolver)
        if not (is_native and isinstance(integrator.adjoint, CheckpointedAdjoint)):
            keys = jax.random.split(key, len(ts))
            return jax.vmap(lambda y0, ts, key, args: self.solve(integrator, field, y0, ts, key, args))(
                y0s, ts, keys, args
            )
        ts, key = self._steer(ts, key)
        axes = (0, 0, None if args is None else 0)
        if not self.costs and not self.record:
            return integrator.batch(field, y0s, ts, args, in_axes=axes, lanes=lanes), {}
        return solve_batch_with_costs(
            integrator, field, y0s, ts, args, costs=self.costs, record=self.record, key=key, in_axes=axes, lanes=lanes
        )

    def _steer(self, ts: Any, key: Key) -> tuple[Any, Key]:
        """Times with their end moved, and the key for what else is drawn."""
        if self.end_time_width == 0:
            return ts, key
        key, key_time = jax.random.split(key)
        return steer_times(ts, self.end_time_width, key=key_time), key

    def penalty(
        self, costs: dict[str, Float[Array, " batch"]], is_success: Array, parameters: Any, multiplier: Array
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """What to add to a loss, and the mean of each cost, to log.

        Arguments:
            costs: of each solve, by name.
            is_success: which solves count, shape (batch,).
            parameters: a model or its parameters.
            multiplier: factor of the costs of solves.
        """
        means = {name: masked_mean(cost, is_success) for name, cost in costs.items()}
        total = multiplier * sum((self.weights[name] * mean for name, mean in means.items()), jnp.zeros(()))
        if "l1" in self.weights:
            total += self.weights["l1"] * l1_norm(parameters)
        if "l2" in self.weights:
            total += self.weights["l2"] * l2_norm_squared(parameters)
        if "spectral" in self.weights:
            total += self.weights["spectral"] * spectral_excess(parameters, self.spectral_bound)
        return total, means
