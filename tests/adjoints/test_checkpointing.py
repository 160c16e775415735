"""The tape keeps what it promises, and gradients do not depend on how much of it is kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.stepping.tape import Tape, choose_num_slots
from tests.adjoints.cases import relative_difference

MOST_NODES = 2000


def slot(node, num_slots):
    """The closed form of the module's docstring."""
    return 0 if node == 0 else 1 + (node - 1) % (num_slots - 1)


@pytest.mark.parametrize("num_slots", range(4, 65, 2))
def test_kept_nodes_are_never_overwritten(num_slots):
    """A model of the tape: write nodes in turn, double the stride when slots run out, look for all kept ones."""
    slots, stride = {0: 0}, 1
    for node in range(1, MOST_NODES + 1):
        if node >= num_slots * stride:
            stride *= 2
        if node % stride == 0:
            slots[slot(node, num_slots)] = node
        kept = range(0, node + 1, stride)
        assert len(kept) <= num_slots
        assert all(slots[slot(n, num_slots)] == n for n in kept)
        assert max(slots) < num_slots
    assert stride <= max(1, 2 * MOST_NODES // num_slots)


@functools.cache
def write_nodes(num_slots, num_nodes, max_steps):
    """A tape on which node n has time n and state n, each written twice, at first with a wrong state."""

    def body(n, tape):
        tape = tape.write(n, jnp.asarray(-1.0), {"x": jnp.array([-1.0, -1.0])})
        return tape.write(n, n.astype(float), {"x": jnp.stack([n, -n]).astype(float)})

    zero = {"x": jnp.zeros(2)}
    tape = Tape.empty(max_steps, jnp.asarray(0.0), jnp.asarray(1.0), zero, num_slots)
    return jax.jit(lambda tape: jax.lax.fori_loop(1, num_nodes + 1, body, tape))(tape)


@pytest.mark.parametrize("num_nodes", [1, 7, 63, 500])
@pytest.mark.parametrize("num_slots", [4, 6, 16, 62, 501])
def test_the_tape_returns_every_kept_node(num_slots, num_nodes):
    max_steps = 500
    tape = write_nodes(num_slots, num_nodes, max_steps)
    nodes = jnp.arange(num_nodes + 1)
    is_kept = jax.vmap(tape.is_kept)(nodes)
    states = jax.vmap(tape.state)(nodes)["x"]
    np.testing.assert_array_equal(states[is_kept, 0], nodes[is_kept])
    np.testing.assert_array_equal(states[is_kept, 1], -nodes[is_kept])
    num_kept = int(is_kept.sum())
    assert num_kept == num_nodes // int(tape.stride) + 1
    assert min(num_nodes + 1, num_slots // 2) <= num_kept <= num_slots
    np.testing.assert_array_equal(tape.times[: num_nodes + 1], nodes)
    assert np.isposinf(np.asarray(tape.times[num_nodes + 1 :])).all()
    assert tape.keeps_all == (num_slots == max_steps + 1)


@pytest.mark.parametrize("num_nodes", [0, 1, 8, 19, 20])
@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_nodes_written_together_are_those_written_in_turn(direction, num_nodes):
    length, max_steps = 8, 20
    path_nodes, sign = np.arange(length + 1), jnp.asarray(direction)
    zero = {"x": jnp.zeros(2)}
    tape = Tape.empty(max_steps, jnp.asarray(0.0), sign, zero, max_steps + 1, num_at_once=length + 1)
    in_turn = Tape.empty(max_steps, jnp.asarray(0.0), sign, zero, max_steps + 1)
    for first in range(0, num_nodes, length):
        nodes = first + path_nodes
        times = jnp.where(nodes <= num_nodes, direction * nodes, jnp.nan)
        tape = tape.extend(jnp.int32(first), times, {"x": jnp.stack([nodes, -nodes], 1).astype(float)})
    for node in range(1, num_nodes + 1):
        in_turn = in_turn.write(jnp.int32(node), direction * node, {"x": jnp.array([node, -node], float)})
    used = slice(0, num_nodes + 1)
    np.testing.assert_array_equal(tape.times[used], in_turn.times[used])
    assert not np.isfinite(np.asarray(tape.times[num_nodes + 1 :])).any()
    np.testing.assert_array_equal(tape.states["x"][used], in_turn.states["x"][used])


def test_the_number_of_slots_follows_memory():
    small, large = jnp.zeros(2), jax.ShapeDtypeStruct((2**20,), jnp.float32)
    assert choose_num_slots(None, 4096, small) == 4097
    assert choose_num_slots(None, 4096, large) == 64
    assert choose_num_slots(None, 32, large) == 33
    assert choose_num_slots(7, 100, small) == 6
    assert choose_num_slots(100, 100, small) == 100
    assert choose_num_slots(101, 100, small) == 101


CHECKPOINTS = (4, 6, 8, 64, None)
MAX_STEPS = 200


@functools.cache
def gradient_of_constant_steps(checkpoints, num_times):
    """For y0, the rate, the times and the phase, as a function of the end and the step size."""
    adjoint = nj.CheckpointedAdjoint(checkpoints=checkpoints)

    def loss(y0, rate, t1, dt):
        sol = nj.odeint(
            lambda t, y, rate: rate * jnp.sin(y + t),
            y0,
            t1 * jnp.linspace(0.0, 1.0, num_times),
            rate,
            solver=nj.Heun(),
            controller=nj.ConstantStep(dt),
            adjoint=adjoint,
            max_steps=MAX_STEPS,
        )
        return jnp.sum(jnp.cos(jnp.arange(num_times)) @ sol.ys), sol.stats.num_accepted

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))


@pytest.mark.parametrize("num_times", [2, 6])
@pytest.mark.parametrize("checkpoints", CHECKPOINTS[:-1])
def test_gradients_do_not_depend_on_checkpoints_for_any_number_of_steps(x64, checkpoints, num_times):
    y0, rate = jnp.array([0.3, -1.0]), jnp.array(1.2)
    for num_steps in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 199, 200):
        arguments = (y0, rate, jnp.asarray(0.02 * num_steps), jnp.asarray(0.02))
        found, num_accepted = gradient_of_constant_steps(checkpoints, num_times)(*arguments)
        assert int(num_accepted) == num_steps
        expected, _ = gradient_of_constant_steps(None, num_times)(*arguments)
        assert relative_difference(found, expected) < 1e-12, num_steps


@functools.cache
def gradient_with_rejections(checkpoints, max_steps):
    adjoint = nj.CheckpointedAdjoint(checkpoints=checkpoints)

    def loss(y0, rate, t1):
        sol = nj.odeint(
            lambda t, y, rate: -rate * jnp.tanh(5 * jnp.sin(3 * t)) * y,
            y0,
            t1 * jnp.linspace(0.0, 1.0, 5),
            rate,
            controller=nj.PIController(rtol=1e-5, atol=1e-5, dt0=1.0),
            adjoint=adjoint,
            max_steps=max_steps,
        )
        ys = jnp.where(jnp.isfinite(sol.ys), sol.ys, 0.0)
        return jnp.sum(jnp.cos(jnp.arange(5)) @ ys), (sol.stats, sol.status)

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))


@pytest.mark.parametrize("checkpoints", [4, 8])
def test_rejected_attempts_leave_no_trace_on_the_tape(x64, checkpoints):
    arguments = (jnp.array([0.3, -1.0]), jnp.array(1.2), jnp.array(4.0))
    found, (stats, status) = gradient_with_rejections(checkpoints, MAX_STEPS)(*arguments)
    expected, _ = gradient_with_rejections(None, MAX_STEPS)(*arguments)
    assert int(status) == nj.Status.success
    assert int(stats.num_rejected) > 5
    assert int(stats.num_accepted) > 3 * checkpoints
    # Rejections make the step sizes sensitive to rounding, which differs between two programs.
    assert relative_difference(found, expected) < 1e-9


def test_a_solve_that_ends_with_rejected_attempts_has_the_gradient_of_its_steps(x64):
    """The field jumps to a stiff one that no step crosses before `max_steps` runs out."""

    def loss(y0, rate, adjoint):
        sol = nj.odeint(
            lambda t, y, rate: -rate * jnp.where(t > 1.0, 1e9, 1.0) * y,
            y0,
            jnp.array([0.0, 0.3, 0.9, 2.0]),
            rate,
            adjoint=adjoint,
            max_steps=30,
        )
        return jnp.sum(sol.ys[:3]), sol

    results = {}
    for checkpoints in (4, None):
        adjoint = nj.CheckpointedAdjoint(checkpoints=checkpoints)
        gradient = jax.jit(jax.grad(functools.partial(loss, adjoint=adjoint), argnums=(0, 1), has_aux=True))
        results[checkpoints], sol = gradient(jnp.ones(1), jnp.array(1.0))
    assert int(sol.status) == nj.Status.max_steps
    assert int(sol.stats.num_rejected) > 3
    assert np.isnan(np.asarray(sol.ys[3])).all()
    assert relative_difference(results[4], results[None]) < 1e-12
    times = np.array([0.0, 0.3, 0.9])
    np.testing.assert_allclose(results[None][0], np.exp(-times).sum(), rtol=1e-4)
    np.testing.assert_allclose(results[None][1], (-times * np.exp(-times)).sum(), rtol=1e-4)


@pytest.mark.parametrize("name", ["direct", "gauss", "backsolve"])
def test_every_adjoint_has_the_gradient_of_the_rows_that_a_failed_solve_reached(x64, name):
    adjoint = {"direct": nj.DirectAdjoint(), "gauss": nj.GaussAdjoint(), "backsolve": nj.BacksolveAdjoint()}[name]

    def loss(y0, rate):
        sol = nj.odeint(
            lambda t, y, rate: -rate * jnp.where(t > 1.0, 1e9, 1.0) * y,
            y0,
            jnp.array([0.0, 0.3, 0.9, 2.0]),
            rate,
            controller=nj.PIController(rtol=1e-7, atol=1e-7),
            adjoint=adjoint,
            max_steps=40,
        )
        return jnp.sum(sol.ys[:3])

    found = jax.jit(jax.grad(loss, argnums=(0, 1)))(jnp.ones(1), jnp.array(1.0))
    times = np.array([0.0, 0.3, 0.9])
    np.testing.assert_allclose(found[0], np.exp(-times).sum(), rtol=1e-5)
    np.testing.assert_allclose(found[1], (-times * np.exp(-times)).sum(), rtol=1e-5)


@functools.cache
def driven_gradient(adjoint, num_times, max_steps, reads_path, end):
    """Of a driven oscillator, for start, rate and times; and how many attempts were made."""

    def loss(y0, rate, ts):
        sol = nj.odeint(
            lambda t, y, rate: jnp.stack([y[1], -rate * y[0] + jnp.sin(3 * t)]),
            y0,
            ts,
            rate,
            controller=nj.PIController(rtol=1e-5, atol=1e-7),
            adjoint=adjoint,
            max_steps=max_steps,
            dense=reads_path,
        )
        ys = sol.evaluate(jnp.linspace(0.1, 0.99, 7) * ts[-1]) if reads_path else sol.ys
        return jnp.sum(jnp.sin(ys)), sol.stats.num_accepted + sol.stats.num_rejected

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    return gradient(jnp.array([1.0, 0.3]), jnp.array(2.0), jnp.linspace(0.0, end, num_times))


@pytest.mark.parametrize("end", [5.0, -5.0])
@pytest.mark.parametrize(("num_times", "reads_path"), [(2, True), (5, False), (300, False)])
@pytest.mark.parametrize("checkpoints", [None, 4])
def test_a_solve_that_leaves_no_room_on_its_tape_has_the_same_gradient(x64, checkpoints, num_times, reads_path, end):
    """The way back begins with a step of no length, beyond the last node."""
    expected, num_attempts = driven_gradient(nj.DirectAdjoint(), num_times, 256, reads_path, end)
    adjoint = nj.CheckpointedAdjoint(checkpoints=checkpoints)
    for spare in (0, 1):
        found, _ = driven_gradient(adjoint, num_times, int(num_attempts) + spare, reads_path, end)
        assert relative_difference(found, expected) < 1e-9
