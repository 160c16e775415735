"""What the compiled gradients are made of: no callback, few equations, bounded memory, one trace."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

import node_jax as nj
from tests.adjoints.cases import ADJOINTS, REVERSE

MOST_EQUATIONS = {
    "checkpointed": 1170,
    "replay": 1300,
    "direct": 1530,
    "backsolve": 2310,
    "gauss": 1750,
    "gauss replay": 1910,
    "reversible": 1630,
}
"""A tenth more than there are: compile time grows with them."""


def equations(jaxpr, seen=None):
    """All equations of a program, those of each distinct part once."""
    seen = set() if seen is None else seen
    if id(jaxpr) in seen:
        return
    seen.add(id(jaxpr))
    for equation in jaxpr.eqns:
        yield equation
        for leaf in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: isinstance(x, Jaxpr)):
            if isinstance(leaf, ClosedJaxpr | Jaxpr):
                yield from equations(leaf.jaxpr if isinstance(leaf, ClosedJaxpr) else leaf, seen)


@functools.cache
def mlp_gradient(name, dt0=None):
    """The equations of the gradient of a 2-64-64-2 network's solve with 100 outputs, for parameters and state."""
    controller = nj.PIController(dt0=dt0)
    parameters, static = eqx.partition(nj.fields.MLP(2, 64, 2, key=jax.random.key(0)), eqx.is_inexact_array)

    def loss(parameters, y0):
        field = eqx.combine(parameters, static)
        ts = jnp.linspace(0.0, 1.0, 100)
        return jnp.sum(nj.odeint(field, y0, ts, controller=controller, adjoint=ADJOINTS[name]).ys ** 2)

    derivative = jax.jacfwd(loss, argnums=1) if name == "forward" else jax.grad(loss, argnums=(0, 1))
    return tuple(equations(jax.make_jaxpr(derivative)(parameters, jnp.ones(2)).jaxpr))


@pytest.mark.parametrize("name", ADJOINTS)
def test_no_gradient_calls_back_to_the_host(name):
    primitives = {equation.primitive.name for equation in mlp_gradient(name)}
    assert "while" in primitives
    assert not [primitive for primitive in primitives if "callback" in primitive or primitive in ("infeed", "outfeed")]


@pytest.mark.parametrize("name", REVERSE)
def test_the_number_of_equations_of_a_gradient_is_bounded(name):
    assert len(mlp_gradient(name)) <= MOST_EQUATIONS[name]


def test_with_a_first_step_that_is_given_there_are_a_thousand_equations_at_most():
    assert len(mlp_gradient("checkpointed", dt0=0.05)) <= 1000


@pytest.mark.parametrize("name", REVERSE)
def test_a_second_gradient_and_another_tolerance_do_not_trace_again(name):
    traces = []

    def field(t, y, args):
        traces.append(1)
        return -args * y

    def loss(y0, rate, rtol):
        controller = nj.PIController(rtol=rtol, atol=1e-6)
        return jnp.sum(
            nj.odeint(field, y0, [0.0, 1.0], rate, controller=controller, adjoint=REVERSE[name], max_steps=16).ys
        )

    gradient = jax.value_and_grad(loss, argnums=(0, 1))
    jax.make_jaxpr(gradient)(jnp.ones(2), jnp.array(1.0), 1e-3)
    first = len(traces)
    assert first > 0
    for rate, rtol in ((1.0, 1e-3), (2.0, 1e-4), (3.0, 1e-5)):
        jax.make_jaxpr(gradient)(jnp.ones(2), jnp.array(rate), rtol)
    assert len(traces) == first
    if name == "checkpointed":
        gradient(jnp.ones(2), jnp.array(1.0), 1e-3)
        first = len(traces)
        gradient(jnp.ones(2), jnp.array(2.0), 1e-4)
        assert len(traces) == first


STATE = 2**20
NUM_STEPS = 1000


def temporaries(adjoint, solver, max_steps=1024, times=2, read=lambda ys: ys[-1]):
    """Temporaries of the compiled gradient of a thousand steps, in states of 4 MiB. Nothing is run."""

    def loss(y0, rate):
        sol = nj.odeint(
            lambda t, y, rate: -rate * jnp.sin(y),
            y0,
            jnp.linspace(0.0, 1.0, times),
            rate,
            solver=solver,
            controller=nj.ConstantStep(1 / NUM_STEPS),
            adjoint=adjoint,
            max_steps=max_steps,
        )
        return jnp.sum(read(sol.ys))

    y0, rate = jax.ShapeDtypeStruct((STATE,), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
    program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(y0, rate).compile()
    return program.memory_analysis().temp_size_in_bytes / (4 * STATE)


@pytest.mark.parametrize("times", [2, 3])
def test_a_large_state_keeps_64_states_and_the_work_of_a_step(times):
    assert temporaries(nj.CheckpointedAdjoint(), nj.Tsit5(), times=times) <= 110


@pytest.mark.parametrize("times", [2, 3])
def test_fewer_checkpoints_take_less(times):
    assert temporaries(nj.CheckpointedAdjoint(checkpoints=16), nj.Tsit5(), times=times) <= 60


@pytest.mark.parametrize(("adjoint", "most"), [(nj.CheckpointedAdjoint(), 2.1), (nj.BacksolveAdjoint(), 4.1)], ids=str)
def test_what_an_output_of_a_large_state_takes_is_bounded(adjoint, most):
    few, many = (temporaries(adjoint, nj.RK4(), times=times, read=jnp.square) for times in (11, 51))
    assert (many - few) / 40 <= most


@pytest.mark.parametrize("solver", [nj.RK4(), nj.ReversibleHeun()], ids=["RK4", "ReversibleHeun"])
def test_steps_taken_back_keep_their_anchors_alone(solver):
    anchors = 2 * (1024 // 32 + 1)
    assert temporaries(nj.ReversibleAdjoint(), solver) <= 32 + anchors


def test_memory_of_the_backward_solve_does_not_grow_with_max_steps():
    few, many = (temporaries(nj.BacksolveAdjoint(), nj.RK4(), max_steps) for max_steps in (1024, 65536))
    assert few <= 20
    assert many <= few + 0.5


def test_memory_of_the_direct_adjoint_grows_like_the_root_of_max_steps():
    few, many = (temporaries(nj.DirectAdjoint(), nj.RK4(), max_steps) for max_steps in (256, 4096))
    assert few <= 85
    assert many <= 4.5 * few


MAX_STEPS = 787
"""A prime, by which an array with a row for every step is known."""


@pytest.mark.parametrize("times", [2, 5])
@pytest.mark.parametrize("name", ADJOINTS)
def test_vmap_does_not_select_whole_tapes(name, times):
    def loss(y0, rate):
        sol = nj.odeint(
            lambda t, y, rate: -rate * y,
            y0,
            jnp.linspace(0.0, 1.0, times),
            rate,
            adjoint=ADJOINTS[name],
            max_steps=MAX_STEPS,
        )
        return jnp.sum(sol.ys)

    derivative = jax.jacfwd(loss, argnums=1) if name == "forward" else jax.grad(loss, argnums=(0, 1))
    mapped = jax.vmap(derivative, in_axes=(0, None))
    program = jax.make_jaxpr(mapped)(jnp.ones((32, 64)), jnp.array(1.0))
    lanes, selects, rows = 0, [], {MAX_STEPS, MAX_STEPS + 1, MAX_STEPS + 2}
    for equation in equations(program.jaxpr):
        shapes = [getattr(var.aval, "shape", ()) for var in equation.outvars]
        lanes += any(shape[:1] == (32,) for shape in shapes)
        # A loop whose condition has a lane axis is lowered to a select over all that it carries.
        is_select = equation.primitive.name == "select_n"
        if equation.primitive.name == "while":
            is_select = equation.params["cond_jaxpr"].out_avals[0].shape != ()
        if is_select:
            selects += [shape for shape in shapes if rows & set(shape)]
    assert lanes > 100
    assert selects == []
