"""What `record` sums along a solve: right, differentiable, and finite where a solve failed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.adjoints.cases import central_differences


def oscillator(t, y, args):
    return jnp.stack([y[1], -args * y[0]])


def stiff(t, y, args):
    return -args[0] * (y - jnp.cos(args[1] * t))


@functools.cache
def costs_and_gradient(adjoint, controller):
    def loss(x):
        sol = nj.odeint(
            stiff,
            x[:1],
            jnp.array([0.0, 0.4, 1.0]),
            x[1:],
            controller=controller,
            adjoint=adjoint,
            max_steps=64,
            record=("error", "stiffness"),
        )
        return jnp.log(sol.costs["error"]) + 0.01 * sol.costs["stiffness"] + jnp.sum(sol.ys)

    return jax.jit(loss), jax.jit(jax.grad(loss))


@pytest.mark.parametrize(
    "controller", [nj.ConstantStep(0.07), nj.PIController(rtol=1e-5)], ids=["constant", "adaptive"]
)
def test_recorded_costs_have_one_gradient(x64, controller):
    """Not against differences in an adaptive solve, which move the step sizes."""
    x = jnp.array([0.3, 8.0, 2.0])
    found = costs_and_gradient(nj.CheckpointedAdjoint(8), controller)[1](x)
    for adjoint in (nj.CheckpointedAdjoint(), nj.DirectAdjoint()):
        # The stiffness is a quotient of small differences, in which rounding is large.
        np.testing.assert_allclose(costs_and_gradient(adjoint, controller)[1](x), found, rtol=1e-6)
    if isinstance(controller, nj.ConstantStep):
        expected = central_differences(costs_and_gradient(nj.CheckpointedAdjoint(), controller)[0], x)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("solver", [nj.Tsit5(), nj.Dopri5()], ids=["Tsit5", "Dopri5"])
def test_the_mean_stiffness_is_the_eigenvalue(x64, solver):
    sol = nj.odeint(lambda t, y, args: -args * y, jnp.ones(3), [0.0, 1.0], 30.0, solver=solver, record="stiffness")
    np.testing.assert_allclose(sol.costs["stiffness"] / sol.stats.num_accepted, 30.0, rtol=1e-6)
    assert set(sol.costs) == {"stiffness"}


def test_the_cost_of_errors_is_the_sum_over_steps(x64):
    """At equal tolerances the scaled error of each step is the error itself over the tolerance."""
    controller = nj.PIController(rtol=1e-14, atol=1e-4)
    sol = nj.odeint(
        oscillator, jnp.array([1.0, 0.0]), [0.0, 2.0], 4.0, controller=controller, record=("error",), steps=True
    )
    expected = jnp.nansum(jnp.abs(sol.steps.dt) * sol.steps.error_ratio) * 1e-4
    assert float(expected) > 0
    np.testing.assert_allclose(sol.costs["error"], expected, rtol=1e-8)


def test_costs_of_failed_solves_are_finite_with_a_finite_gradient():
    def cost(y0):
        sol = nj.odeint(lambda t, y, args: y * y, y0, [0.0, 2.0], record=("error", "stiffness"))
        return sol.costs["error"] + 1e-9 * sol.costs["stiffness"], sol

    (total, sol), gradient = jax.jit(jax.value_and_grad(cost, has_aux=True))(jnp.ones(1))
    assert int(sol.status) in (nj.Status.dt_underflow, nj.Status.non_finite, nj.Status.max_steps)
    assert np.isfinite(total)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"record": ("errors",)}, "names out of"),
        ({"record": "error", "solver": nj.RK4(), "controller": nj.ConstantStep(0.1)}, "record='error'"),
        ({"record": "stiffness", "solver": nj.Bosh3()}, "record='stiffness'"),
        ({"record": "stiffness", "adjoint": nj.ReversibleAdjoint()}, "record='stiffness'"),
        ({"record": "error", "adjoint": nj.GaussAdjoint()}, "GaussAdjoint.*record="),
        ({"dense": True, "adjoint": nj.BacksolveAdjoint()}, "BacksolveAdjoint.*dense=True"),
    ],
)
def test_what_cannot_be_recorded_is_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], **keywords)
