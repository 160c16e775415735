"""What `odeint` needs of an adjoint."""

import abc

import equinox as eqx

from node_jax.stepping import LoopResult, Problem


class AbstractAdjoint(eqx.Module):
    """Runs a time loop and gives it a gradient rule."""

    @abc.abstractmethod
    def solve(self, problem: Problem) -> LoopResult:
        """Solve `problem` so that `LoopResult.ys` is differentiable."""
