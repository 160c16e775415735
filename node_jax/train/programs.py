"""The compiled programs of runs that differ in arrays only, such as initial values, rates and strengths."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from node_jax.tasks import AbstractTask
from node_jax.train.state import TrainState, model_of
from node_jax.train.step import Metrics, StepSettings, make_advance


class _Arrays(NamedTuple):
    """What programs read of a run beside its state."""

    of_task: list[Array]
    of_rest: list[Array]


class Programs:
    """What is compiled once and called for every run with the same structure.

    Arguments:
        task, optimizer, rest, state: those of one of the runs. Of the others only JAX arrays are read: the NumPy arrays
            in the untrained part `rest` of its model, which are for the host, stand for those of all.
        settings: what an optimizer step is made of.
    """

    def __init__(
        self,
        task: AbstractTask,
        optimizer: optax.GradientTransformation,
        rest: Any,
        state: TrainState,
        settings: StepSettings,
    ) -> None:
        arrays, static = eqx.partition(task, eqx.is_array)
        constants, static_rest = eqx.partition(rest, eqx.is_array)
        of_task, of_rest = jax.tree.structure(arrays), jax.tree.structure(constants)
        self._of_state = jax.tree.structure(state)

        def whole_rest(constants: list[Array]) -> Any:
            return eqx.combine(jax.tree.unflatten(of_rest, constants), static_rest)

        def advance(state: TrainState, arrays: _Arrays, *where: Any) -> tuple[TrainState, Metrics]:
            return make_advance(task, optimizer, whole_rest(arrays.of_rest), settings)(state, arrays.of_task, *where)

        def looking(look: Callable[[AbstractTask, Any], Any]) -> Callable[[TrainState, _Arrays], Any]:
            def call(state: TrainState, arrays: _Arrays) -> Any:
                whole = eqx.combine(jax.tree.unflatten(of_task, arrays.of_task), static)
                return look(whole, model_of(state, whole_rest(arrays.of_rest)))

            return jax.jit(call)

        def advance_all(state: TrainState, arrays: _Arrays, *where: Any) -> tuple[TrainState, Metrics]:
            return jax.vmap(lambda state, arrays: advance(state, arrays, *where))(state, arrays)

        self._advance = jax.jit(advance, static_argnums=(2, 3), donate_argnums=0)
        self._advance_all = jax.jit(advance_all, static_argnums=(2, 3), donate_argnums=0)
        self._monitor = looking(lambda task, model: task.monitor(model))
        self._validate = looking(lambda task, model: task.validate(model))

    def advance(
        self, state: TrainState, task: AbstractTask, rest: Any, num_steps: int, stage: int, start: int, stage_steps: int
    ) -> tuple[TrainState, dict[str, np.ndarray]]:
        """`num_steps` optimizer steps; `state` is used up.

        Arguments:
            state, task, rest: of the run.
            num_steps: optimizer steps; each number is compiled anew.
            stage, start, stage_steps: number of the stage, the step at which it began, and its steps.
        """
        where = (num_steps, stage, jnp.int32(start), jnp.int32(stage_steps))
        state, metrics = self._advance(self._same(state), _arrays(task, rest), *where)
        return state, jax.device_get(metrics)

    def advance_all(
        self, states: Sequence[TrainState], tasks: Sequence[AbstractTask], rests: Sequence[Any], *where: int
    ) -> tuple[list[TrainState], list[dict[str, np.ndarray]]]:
        """The same for several runs side by side, in one program under `jax.vmap`.

        Arguments:
            states, tasks, rests: of each run.
            where: `num_steps`, `stage`, `start` and `stage_steps`, of all runs.
        """
        num_steps, stage, start, stage_steps = where
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(self._same(state) for state in states))
        each = [_arrays(task, rest) for task, rest in zip(tasks, rests, strict=True)]
        arrays = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        state, metrics = self._advance_all(stacked, arrays, num_steps, stage, jnp.int32(start), jnp.int32(stage_steps))
        metrics = jax.device_get(metrics)
        runs = range(len(states))
        return (
            [jax.tree.map(lambda leaf, i=i: leaf[i], state) for i in runs],
            [{name: values[i] for name, values in metrics.items()} for i in runs],
        )

    def monitor(self, state: TrainState, task: AbstractTask, rest: Any) -> dict[str, float]:
        """What the task tells of how the model is solved."""
        found = jax.device_get(self._monitor(self._same(state), _arrays(task, rest)))
        return {name: float(value) for name, value in found.items()}

    def validate(self, state: TrainState, task: AbstractTask, rest: Any) -> dict[str, float] | None:
        """The losses on the data held out, if there are any."""
        found = jax.device_get(self._validate(self._same(state), _arrays(task, rest)))
        return None if found is None else {name: float(value) for name, value in found.items()}

    def _same(self, state: TrainState) -> TrainState:
        """The state with the static parts of the first run, so that the next does not compile anew."""
        return jax.tree.unflatten(self._of_state, jax.tree.leaves(state))


def _arrays(task: AbstractTask, rest: Any) -> _Arrays:
    return _Arrays(*(jax.tree.leaves(eqx.filter(tree, eqx.is_array)) for tree in (task, rest)))
