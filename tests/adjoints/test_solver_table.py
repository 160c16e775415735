"""With steps fixed in advance the gradient of every solver is exact: it equals central differences far below the
solver's own error, whatever the adjoint keeps or repeats.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.adjoints.cases import Inputs, central_differences, flat_loss, split, weigh

PLAIN = {
    "Euler": nj.Euler(),
    "Midpoint": nj.Midpoint(),
    "Heun": nj.Heun(),
    "Ralston": nj.Ralston(),
    "RK4": nj.RK4(),
    "Bosh3": nj.Bosh3(),
    "Dopri5": nj.Dopri5(),
    "Tsit5": nj.Tsit5(),
    "CashKarp5": nj.CashKarp5(),
    "Bosh5": nj.Bosh5(),
    "Tsit5 scanned": nj.Tsit5(scan_stages=True),
    "Dopri8": nj.Dopri8(),
}
REVERSIBLE = {
    "SemiImplicitEuler": nj.SemiImplicitEuler(),
    "StormerVerlet": nj.StormerVerlet(),
    "LeapfrogMidpoint": nj.LeapfrogMidpoint(),
    "ReversibleHeun": nj.ReversibleHeun(),
    "Reversible RK4": nj.Reversible(nj.RK4()),
}
SOLVERS = {**PLAIN, **REVERSIBLE}
ADJOINTS = {
    "keeps all": nj.CheckpointedAdjoint(),
    "replays": nj.CheckpointedAdjoint(checkpoints=4),
    "direct": nj.DirectAdjoint(),
    "steps back": nj.ReversibleAdjoint(anchor_every=5),
}
DENSE = np.linspace(0.0, 1.0, 9) ** 1.3
"""Between, at and several within the steps of 0.09: outputs are read off the dense output."""
ENDS = [0.0, 1.0]
STEP = nj.ConstantStep(0.09)


class Spring(eqx.Module):
    """A driven nonlinear spring, separable in position and momentum, with an integer and an unused leaf."""

    constants: jax.Array
    power: jax.Array
    unused: jax.Array

    def __call__(self, t, y, args):
        q, p = y
        velocity = self.constants[0] * jnp.sin(p) + 0.3 * jnp.sin(t)
        return velocity, -self.constants[1] * q**self.power + args * jnp.cos(2 * t)


def spring(times):
    field = Spring(jnp.array([1.3, 0.8]), jnp.array(3), jnp.array(1.0))
    return Inputs(field, (jnp.array([0.7]), jnp.array([-0.4])), jnp.asarray(times), jnp.array(0.6))


def value(solver, adjoint, controller=STEP):
    def loss(inputs):
        sol = nj.odeint(*inputs, solver=solver, controller=controller, adjoint=adjoint, max_steps=16)
        return weigh(sol.ys)

    return loss


@functools.cache
def differences(solver, times):
    """Central differences for all but the first and the last time, whose move would change the last step's size."""
    inputs = spring(times)
    flat, arrays, join = split(inputs)
    evaluate = jax.jit(flat_loss(inputs, value(SOLVERS[solver], nj.CheckpointedAdjoint())))
    return join(central_differences(evaluate, flat, arrays), arrays)


def gradient(solver, adjoint, times):
    inputs = spring(times)
    flat, arrays, join = split(inputs)
    return join(jax.jit(jax.grad(flat_loss(inputs, value(solver, adjoint))))(flat, arrays), arrays)


def assert_exact(found, expected):
    for ours, theirs in zip(
        (found.field.constants, found.y0, found.args, found.ts[1:-1]),
        (expected.field.constants, expected.y0, expected.args, expected.ts[1:-1]),
        strict=True,
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=2e-9), ours, theirs)
    assert float(found.field.unused) == 0.0
    assert np.abs(expected.field.constants).min() > 1e-3


@pytest.mark.parametrize("adjoint", ["replays", "direct"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_gradients_through_dense_output_are_exact(x64, solver, adjoint):
    found = gradient(SOLVERS[solver], ADJOINTS[adjoint], tuple(DENSE))
    assert_exact(found, differences(solver, tuple(DENSE)))


@pytest.mark.parametrize("solver", ["Tsit5", "StormerVerlet", "ReversibleHeun", "Reversible RK4"])
def test_gradients_are_exact_where_every_state_is_kept(x64, solver):
    found = gradient(SOLVERS[solver], ADJOINTS["keeps all"], tuple(DENSE))
    assert_exact(found, differences(solver, tuple(DENSE)))


@pytest.mark.parametrize(
    ("solver", "adjoint"),
    [
        ("Bosh3", "replays"),
        ("SemiImplicitEuler", "replays"),
        ("StormerVerlet", "direct"),
        ("ReversibleHeun", "replays"),
    ],
)
def test_gradients_of_the_end_are_exact(x64, solver, adjoint):
    found = gradient(SOLVERS[solver], ADJOINTS[adjoint], tuple(ENDS))
    assert_exact(found, differences(solver, tuple(ENDS)))


@pytest.mark.parametrize("solver", REVERSIBLE)
def test_steps_taken_back_give_exact_gradients(x64, solver):
    found = gradient(SOLVERS[solver], ADJOINTS["steps back"], tuple(DENSE))
    assert_exact(found, differences(solver, tuple(DENSE)))


@pytest.mark.parametrize("solver", ["SemiImplicitEuler", "ReversibleHeun"])
def test_steps_taken_back_give_exact_gradients_of_the_end(x64, solver):
    found = gradient(SOLVERS[solver], ADJOINTS["steps back"], tuple(ENDS))
    assert_exact(found, differences(solver, tuple(ENDS)))


def test_a_method_is_made_reversible_with_the_coupling_of_the_adjoint(x64):
    found = gradient(nj.Midpoint(), nj.ReversibleAdjoint(coupling=0.9, anchor_every=5), tuple(DENSE))
    expected = gradient(nj.Reversible(nj.Midpoint(), 0.9), ADJOINTS["keeps all"], tuple(DENSE))
    np.testing.assert_allclose(split(found)[0], split(expected)[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_steps_that_end_at_every_output_give_exact_gradients(x64, adjoint):
    inputs = spring(DENSE)
    flat, arrays, join = split(inputs)
    controller = nj.FixedSteps(2)
    loss = flat_loss(inputs, value(REVERSIBLE["ReversibleHeun"], ADJOINTS[adjoint], controller))
    found = join(jax.jit(jax.grad(loss))(flat, arrays), arrays)
    num = flat.size - DENSE.size - 1
    evaluate = jax.jit(loss)
    # `ts` come before `args` in the vector; moving one changes the sizes of steps, which are constants of the gradient.
    steps = 1e-5 * np.eye(flat.size)[[*range(num), flat.size - 1]]
    found = np.delete(np.asarray(split(found)[0]), np.arange(num, flat.size - 1))
    expected = [(evaluate(flat + step, arrays) - evaluate(flat - step, arrays)) / 2e-5 for step in steps]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=2e-9)


LANES = np.array([1.0, 0.3, 2.0])
"""Where the solves of three lanes end."""


def rate_gradient(name, times, adjoint):
    """Of a rate and an end, for the rate."""
    solver = nj.Reversible(nj.Bosh3()) if name == "Reversible Bosh3" else SOLVERS[name]
    controller = nj.PIController(rtol=1e-3, atol=1e-3) if solver.has_error_estimate else STEP

    def loss(rate, end):
        field = Spring(jnp.array([1.0, 2.0]), jnp.asarray(3), jnp.ones(2))
        y0, ts = (jnp.array([1.0]), jnp.array([0.5])), jnp.asarray(times) * end
        sol = nj.odeint(
            field, y0, ts, rate, solver=solver, controller=controller, adjoint=ADJOINTS[adjoint], max_steps=64
        )
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in sol.ys)

    return jax.grad(loss)


@functools.cache
def gradients_of_single_lanes(name, times):
    alone = jax.jit(rate_gradient(name, times, "keeps all"))
    return np.array([alone(0.7, end) for end in LANES])


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("times", [tuple(ENDS), tuple(DENSE)], ids=["ends", "dense"])
@pytest.mark.parametrize("name", ["LeapfrogMidpoint", "ReversibleHeun", "Reversible Bosh3"])
def test_under_vmap_a_step_of_another_lane_is_no_step(x64, name, times, adjoint):
    """A method with two copies of the state moves it even in a step of no length; lanes here stop at other times."""
    mapped = jax.jit(jax.vmap(rate_gradient(name, times, adjoint), in_axes=(None, 0)))
    np.testing.assert_allclose(mapped(0.7, LANES), gradients_of_single_lanes(name, times), rtol=1e-9)
