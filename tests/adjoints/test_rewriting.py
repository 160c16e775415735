"""What a rewritten equation wants prepared is prepared once, before the loops in which it stays the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import SingleDeviceSharding

import node_jax as nj
from node_jax.adjoints.products import with_fast_products

ROWS, WIDTH = 12, 6
PREPARES = "_with_axis_first"
"""A weight that is stored as (outputs, inputs) is brought into the order of its inputs."""


def directly(weights, x):
    """A layer of two inputs, which is a thin product."""
    return jnp.tanh(x @ weights.T)[:, :2]


def in_a_function(weights, x):
    function = jax.jit(directly)
    return function(weights, function(weights, x))


def times(number, function, x):
    """A loop whose end depends on what is not changed in it, either."""
    limit = jnp.array([number])
    _, x = lax.while_loop(lambda carry: carry[0] < limit[0], lambda carry: (carry[0] + 1, function(carry[1])), (0, x))
    return x


def in_loops(weights, x):
    return times(2, lambda x: times(3, lambda x: directly(weights, x), x), x)


def in_a_loop_of_known_length(weights, x):
    return lax.scan(lambda x, row: (in_a_function(weights, x) + row, None), x, jnp.ones((3, 2)))[0]


def replayed(weights, x):
    return jax.checkpoint(directly)(weights, x)


def with_two_weights(weights, x):
    others = 0.5 * weights[::-1]
    function = jax.jit(directly)
    return times(3, lambda x: function(others, function(weights, x)) - directly(others, x), x)


HOISTED = [directly, in_a_function, in_loops, replayed]
if jax.__version_info__ < (0, 11):
    HOISTED.append(in_a_loop_of_known_length)


def replayed_in_part(weights, x):
    return jax.checkpoint(directly, prevent_cse=(True, False))(weights, x)


def with_weights_that_change(weights, x):
    def body(_, carry):
        weights, x = carry
        return 0.9 * weights, directly(weights, x)

    return lax.fori_loop(0, 3, body, (weights, x))[1]


def in_a_branch(weights, x):
    return lax.cond(x[0, 0] > 0, directly, lambda weights, x: directly(-weights, x), weights, x)


def in_a_condition(weights, x):
    return lax.while_loop(lambda x: jnp.sum(directly(weights, x) ** 2) > 1e-3, lambda x: 0.5 * x, x)


def with_a_place(weights, x):
    place = SingleDeviceSharding(jax.devices()[0])
    return jax.jit(directly, in_shardings=(place, place))(weights, x)


def arguments():
    keys = jax.random.split(jax.random.key(0))
    return jax.random.normal(keys[0], (WIDTH, 2)), jax.random.normal(keys[1], (ROWS, 2))


def rewritten(function):
    return lambda *arguments: with_fast_products(lambda: function(*arguments))


def depths_of(program, name, depth=0):
    """In how many loops each call of a function of that name is."""
    found = []
    for equation in program.eqns:
        if equation.params.get("name") == name:
            found.append(depth)
            continue
        is_loop = equation.primitive.name in ("while", "scan")
        for value in equation.params.values():
            for part in value if isinstance(value, tuple) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    found += depths_of(inner, name, depth + is_loop)
    return found


@pytest.mark.parametrize(
    "function",
    [
        *(directly, in_a_function, in_loops, replayed, in_a_loop_of_known_length, with_two_weights),
        *(with_weights_that_change, in_a_branch, in_a_condition, with_a_place, replayed_in_part),
    ],
)
def test_a_rewritten_program_has_the_same_values(x64, function):
    x = arguments()
    np.testing.assert_allclose(rewritten(function)(*x), function(*x), rtol=1e-12)
    np.testing.assert_allclose(jax.jit(rewritten(function))(*x), function(*x), rtol=1e-12)


@pytest.mark.parametrize("function", HOISTED)
def test_a_weight_is_prepared_once_before_all_loops(function):
    assert depths_of(jax.make_jaxpr(rewritten(function))(*arguments()).jaxpr, PREPARES) == [0]


def test_two_weights_are_prepared_once_each():
    assert depths_of(jax.make_jaxpr(rewritten(with_two_weights))(*arguments()).jaxpr, PREPARES) == [0, 0]


def test_what_changes_within_a_loop_is_prepared_there():
    program = jax.make_jaxpr(rewritten(with_weights_that_change))(*arguments()).jaxpr
    assert depths_of(program, PREPARES) == [1]


def test_a_weight_that_is_stored_in_the_order_of_its_inputs_is_left_as_it_is():
    weights, x = arguments()
    program = jax.make_jaxpr(rewritten(lambda weights, x: jnp.tanh(x @ weights)))(weights.T, x).jaxpr
    assert not depths_of(program, PREPARES)
    assert len(depths_of(program, "_thin_product")) == 1


@pytest.mark.parametrize("function", [in_loops, in_a_loop_of_known_length, replayed, with_two_weights])
def test_a_rewritten_program_has_the_same_derivatives_and_batches(x64, function):
    weights, x = arguments()
    tangent = jax.jvp(rewritten(function), (weights, x), (x[:WIDTH], x))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11),
        tangent,
        jax.jvp(function, (weights, x), (x[:WIDTH], x)),
    )
    many = jnp.stack([weights, 2.0 * weights])
    np.testing.assert_allclose(
        jax.vmap(rewritten(function), (0, None))(many, x), jax.vmap(function, (0, None))(many, x), rtol=1e-12
    )


def test_the_weight_of_a_network_is_prepared_once_for_a_solve_and_once_for_its_gradient():
    network, y0 = nj.fields.MLP(dim=2, width=8, depth=2, key=jax.random.key(0)), jnp.ones((ROWS, 2))

    def loss(network):
        return jnp.sum(nj.odeint(network, y0, jnp.linspace(0.0, 1.0, 6)).ys)

    assert depths_of(jax.make_jaxpr(loss)(network).jaxpr, PREPARES) == [0]
    # The way back wants the transpose of the last weight's transpose, which the field makes of it in each stage.
    assert depths_of(jax.make_jaxpr(jax.grad(loss))(network).jaxpr, PREPARES) == [0, 0]
