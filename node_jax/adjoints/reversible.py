"""Gradients from steps that are taken back exactly, so that few states need to be kept."""

import dataclasses

import equinox as eqx

from node_jax.adjoints.base import AbstractAdjoint
from node_jax.adjoints.checkpointed import solve_discretely
from node_jax.controllers import require_scalar
from node_jax.errors import require_count
from node_jax.solvers import AbstractReversibleSolver, ExplicitRungeKutta, Reversible
from node_jax.stepping import LoopResult, Problem


class ReversibleAdjoint(AbstractAdjoint):
    """Exact gradients in little memory: the backward pass undoes the steps instead of keeping or repeating them.

    A Runge-Kutta method is made reversible by a second copy of the state (see `nj.Reversible`), at twice its
    evaluations; `nj.ReversibleHeun` and the symplectic methods are reversible as they are. Every `anchor_every`-th
    state is kept, so that the rounding errors of the way back do not add up over the whole solve.

    The copies of the state part in a dissipative field, more in longer solves and larger steps: then the solution is
    wrong already. The solve ends with status `copies_apart` where their distance passes a hundredth of the state. Use
    `nj.CheckpointedAdjoint` there.

    Arguments:
        coupling: how strongly the copies are drawn together, above 0 and up to 1; see `nj.Reversible`.
        anchor_every: keep every so many states.

    References: McCallum & Foster (2024), arXiv:2410.11648; Kidger, Foster, Li & Lyons (2021), arXiv:2105.13493.
    """

    coupling: float = eqx.field(static=True, default=0.999)
    anchor_every: int = eqx.field(static=True, default=32)

    def validate(self) -> None:
        """`coupling` in (0, 1], `anchor_every` at least 1."""
        require_scalar("ReversibleAdjoint", "coupling", self.coupling)
        if not 0 < self.coupling <= 1:
            raise ValueError(
                f"ReversibleAdjoint: expected a coupling above 0 and up to 1, got {self.coupling!r}; 0.999 is usual."
            )
        require_count("ReversibleAdjoint", "anchor_every", self.anchor_every)

    def check(self, problem: Problem) -> None:
        """A reversible method has no stiffness estimate."""
        if "stiffness" in problem.costs:
            raise ValueError(
                "odeint: record='stiffness' needs two stages at the end of a step, which a reversible method does not "
                "have. Use adjoint=nj.CheckpointedAdjoint()."
            )

    def solve(self, problem: Problem) -> LoopResult:
        """See `AbstractAdjoint.solve`."""
        solver = problem.solver
        if not isinstance(solver, AbstractReversibleSolver):
            assert isinstance(solver, ExplicitRungeKutta)
            problem = dataclasses.replace(problem, solver=Reversible(solver, self.coupling))
        num_slots = problem.max_steps // self.anchor_every + 1
        return solve_discretely(problem, num_slots, self.anchor_every, steps_back=True)
