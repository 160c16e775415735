"""The others, each at its best: same tableau, same controller coefficients, same first step, tight `max_steps`."""

import functools
import importlib.util
import os
import timeit
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.ode import odeint as jax_odeint
from scipy.integrate import solve_ivp

from experiments.benchmarks.contender import Setting, Solve, Solved

has_torch = jax.default_backend() == "cpu" and all(map(importlib.util.find_spec, ("torch", "torchdiffeq")))
"""Whether torchdiffeq can be measured, on a CPU; it comes with the extra `bench`."""

EVALS_PER_STEP = {"Bosh3": 3, "Dopri5": 6, "Tsit5": 6, "Dopri8": 13}
"""Field evaluations an attempted step of diffrax, which does not count them; one more starts a solve."""


def diffrax_solve(
    field: Callable[..., Any], y0: Any, ts: Any, setting: Setting, final_only: bool = False, *, adjoint: Any = None
) -> Solved:
    """`diffrax.diffeqsolve`; see `Solve`."""
    controller: diffrax.AbstractStepSizeController = diffrax.PIDController(
        rtol=setting.rtol, atol=setting.atol, pcoeff=0.4, icoeff=0.3, dcoeff=0.0
    )
    if setting.constant_dt is not None:
        controller = diffrax.ConstantStepSize()
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        getattr(diffrax, setting.solver)(),
        ts[0],
        ts[-1],
        setting.dt0 if setting.constant_dt is None else setting.constant_dt,
        y0,
        saveat=diffrax.SaveAt(t1=True) if final_only else diffrax.SaveAt(ts=ts),
        stepsize_controller=controller,
        adjoint=adjoint or diffrax.RecursiveCheckpointAdjoint(),
        max_steps=setting.max_steps,
        throw=False,
    )
    accepted, attempted = solution.stats["num_accepted_steps"], solution.stats["num_steps"]
    per_step = EVALS_PER_STEP.get(setting.solver)
    evals = -1 if per_step is None else 1 + per_step * attempted
    return Solved(solution.ys, accepted, solution.stats["num_rejected_steps"], evals)


def diffrax_mapped(field: Callable[..., Any], y0: Any, ts: Any, setting: Setting, final_only: bool = False) -> Solved:
    """`diffrax_solve` under `jax.vmap` over the first axis of `y0`, as diffrax's own examples do."""
    solved = jax.vmap(lambda y: diffrax_solve(field, y, ts, setting, final_only))(y0)
    return Solved(jnp.swapaxes(solved.ys, 0, 1), *solved[1:])


def diffrax_adjoints(max_steps: int) -> dict[str, Any]:
    """diffrax's adjoints for reverse mode: the default, one that keeps every step, and the others."""
    return {
        "Recursive (default)": diffrax.RecursiveCheckpointAdjoint(),
        "Recursive, all steps": diffrax.RecursiveCheckpointAdjoint(checkpoints=max_steps),
        "Direct": diffrax.DirectAdjoint(),
        "Backsolve": diffrax.BacksolveAdjoint(),
    }


def diffrax_contenders(max_steps: int) -> dict[str, Solve]:
    """diffrax with every adjoint and the batch in the state, and under vmap with its default adjoint."""
    found: dict[str, Solve] = {
        f"diffrax, {label}": functools.partial(diffrax_solve, adjoint=adjoint)
        for label, adjoint in diffrax_adjoints(max_steps).items()
    }
    return found | {"diffrax, vmap": diffrax_mapped}


def jax_solve(field: Any, y0: Any, ts: Any, setting: Setting, final_only: bool = False) -> Solved:
    """`jax.experimental.ode.odeint`: Dormand-Prince with a controller of its own; tolerances must be numbers."""
    arrays, static = eqx.partition(field, eqx.is_inexact_array)
    times = jnp.stack([ts[0], ts[-1]]) if final_only else ts

    def derivative(y: Any, t: Any, arrays: Any) -> Any:
        return eqx.combine(arrays, static)(t, y, None)

    ys = jax_odeint(derivative, y0, times, arrays, rtol=setting.rtol, atol=setting.atol, mxstep=setting.max_steps)
    return Solved(ys[-1:] if final_only else ys, -1, -1, -1)


def scipy_solve(field: Callable[..., Any], y0: Any, ts: Any, setting: Setting) -> np.ndarray:
    """`scipy.integrate.solve_ivp` by RK45 (Dormand-Prince) on a NumPy field; the states with time first."""
    solution = solve_ivp(
        field, (ts[0], ts[-1]), y0, "RK45", ts, rtol=setting.rtol, atol=setting.atol, first_step=setting.dt0
    )
    return solution.y.T


class TorchProblem:
    """An `nj.fields.MLP` and its solve in torchdiffeq, with the same weights.

    Arguments:
        field: the module to copy; its activation must be tanh or softplus.
        y0: initial states.
        ts: times.
        setting: as for the others. torchdiffeq has no bound on steps, and a controller of its own.
        use_adjoint: `odeint_adjoint` (the continuous adjoint) instead of backpropagation through the solver.
    """

    def __init__(self, field: Any, y0: Any, ts: Any, setting: Setting, *, use_adjoint: bool = False) -> None:
        import torch
        import torchdiffeq

        self._loss = lambda ys: (ys**2).mean()
        self.module = torch_field(field.weights, field.biases, field.activation.__name__)
        self.y0 = torch.tensor(np.asarray(y0), requires_grad=True)
        self.ts = torch.tensor(np.asarray(ts))
        solve = torchdiffeq.odeint_adjoint if use_adjoint else torchdiffeq.odeint
        self._solve = lambda: solve(
            self.module,
            self.y0,
            self.ts,
            rtol=setting.rtol,
            atol=setting.atol,
            method=torch_method(),
            options={"first_step": setting.dt0},
        )
        choose_torch_threads(self.gradient)

    def forward(self) -> Any:
        """The states, time first."""
        import torch

        with torch.no_grad():
            return self._solve()

    def gradient(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Of the mean square of the states: for weights and biases in the order of `nj.fields.MLP`, and for y0."""
        self.y0.grad = None
        self.module.zero_grad()
        self._loss(self._solve()).backward()
        parameters = [parameter.grad.numpy() for parameter in self.module.parameters()]
        return parameters[0::2] + parameters[1::2], self.y0.grad.numpy()


def choose_torch_threads(call: Callable[[], Any]) -> None:
    """Let torch use one thread or all cores, whichever runs `call` sooner here and now.

    Small matrices gain little from a second thread, and on a machine that others use its threads wait for each other:
    the same gradient then takes a hundred times as long.
    """
    import torch

    call()
    seconds = {}
    for num in {os.cpu_count() or 1, 1}:
        torch.set_num_threads(num)
        # The slowest of a few: a choice that is sometimes a hundred times slower is no choice.
        seconds[num] = max(timeit.repeat(call, number=1, repeat=3))
    torch.set_num_threads(min(seconds, key=lambda num: seconds[num]))


@functools.cache
def torch_method() -> str:
    """Tsitouras' method where torchdiffeq has it, else Dormand and Prince's."""
    import torch
    import torchdiffeq

    def constant(t: Any, y: Any) -> Any:
        del t
        return torch.zeros_like(y)

    try:
        torchdiffeq.odeint(constant, torch.ones(1), torch.tensor([0.0, 0.1]), method="tsit5")
    except ValueError:
        return "dopri5"
    return "tsit5"


def torch_field(weights: Any, biases: Any, activation: str, has_scaled_tanh: bool = False) -> Any:
    """A torch module f(t, y): an MLP of given weights, with `has_scaled_tanh` tanh of it times a trainable number."""
    import torch

    kind = {"tanh": torch.nn.Tanh, "softplus": torch.nn.Softplus}[activation]
    layers: list[Any] = []
    for weight, bias in zip(weights, biases, strict=True):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(np.asarray(weight)))
            linear.bias.copy_(torch.tensor(np.asarray(bias)))
        layers += [linear, kind()]

    class Field(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(*layers[:-1])
            self.scale = torch.nn.Parameter(torch.tensor(1.0)) if has_scaled_tanh else None

        def forward(self, t: Any, y: Any) -> Any:
            del t
            return self.layers(y) if self.scale is None else self.scale * torch.tanh(self.layers(y))

    return Field()
