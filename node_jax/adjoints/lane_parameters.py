"""The parameters of a batched solve: some are shared by the trajectories, others each has for itself."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from node_jax.events import Jumps
from node_jax.stepping import Batch, Problem


class Parameters(NamedTuple):
    """Arrays of field and jumps that are differentiated, or their cotangents."""

    shared: list[Array]
    own: list[Array]
    """Those that each trajectory has for itself; with a leading axis of trajectories or lanes, or of one."""


class ParameterSplit:
    """Takes parameters out of field and jumps, and puts them back.

    Arguments:
        batch: the problems.
        places: which leaves of field and jumps are parameters.
    """

    def __init__(self, batch: Batch, places: Sequence[int]) -> None:
        self.batch, self.places = batch, places
        self.is_own = [batch.is_mapped[place] for place in places]

    def split(self, leaves: Sequence[Array] | Mapping[int, Array]) -> Parameters:
        """The parameters among the leaves of field and jumps."""
        pairs = [(leaves[place], is_own) for place, is_own in zip(self.places, self.is_own, strict=True)]
        return Parameters([leaf for leaf, is_own in pairs if not is_own], [leaf for leaf, is_own in pairs if is_own])

    def by_place(self, parameters: Parameters) -> dict[int, Array]:
        """The parameters by their places."""
        remaining = {True: iter(parameters.own), False: iter(parameters.shared)}
        return {place: next(remaining[is_own]) for place, is_own in zip(self.places, self.is_own, strict=True)}

    def of(self, problem_rows: list[Array]) -> Parameters:
        """Those of the trajectories that `problem_rows` belong to."""
        return self.split(jax.tree.leaves(self.batch.problem_of(problem_rows).dynamics))

    def dynamics(self, problem: Problem, parameters: Parameters) -> tuple[Any, Jumps | None]:
        """Field, of the problem's kind, and jumps of one trajectory with these parameters."""
        leaves, treedef = jax.tree.flatten(problem.dynamics)
        found = dict(enumerate(leaves)) | self.by_place(parameters)
        return jax.tree.unflatten(treedef, list(found.values()))
