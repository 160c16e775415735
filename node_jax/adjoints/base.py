"""What `odeint` needs of an adjoint."""

import abc

import equinox as eqx

from node_jax.stepping import Batch, LoopResult, Problem


class AbstractAdjoint(eqx.Module):
    """Runs a time loop and gives it a gradient rule."""

    @property
    def allows_jumps(self) -> bool:
        """Whether jumps of the state can be differentiated."""
        return False

    def validate(self) -> None:
        """Raise `ValueError` for settings that cannot work; called before anything is traced."""
        return

    def check(self, problem: Problem) -> None:
        """Raise `ValueError` for a problem that this adjoint cannot differentiate; called before the loop is traced."""
        del problem

    @abc.abstractmethod
    def solve(self, problem: Problem) -> LoopResult:
        """Solve `problem` so that `LoopResult.ys` is differentiable."""

    def solve_batch(self, batch: Batch, num_lanes: int, max_rows: int) -> LoopResult:
        """Solve all problems in `batch`, `num_lanes` at once, so that `LoopResult.ys` is differentiable."""
        del batch, num_lanes, max_rows
        raise ValueError(
            f"odeint_batch: {type(self).__name__} differentiates one solve at a time. Use nj.CheckpointedAdjoint(), or "
            "jax.vmap over nj.odeint with this adjoint."
        )
