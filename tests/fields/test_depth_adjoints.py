"""Linear, gated, varying, augmented and graph fields under every adjoint, in a batch, and in diffrax."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.adjoints.cases import ADJOINTS, CONTINUOUS, relative_difference, weigh

TS = (0.0, 0.4, 0.8)
NAMES = {name: adjoint for name, adjoint in ADJOINTS.items() if "replay" not in name}


class Together(eqx.Module):
    """Fields side by side, each with its entry of the state, so that one program tests all of them."""

    fields: dict

    def __call__(self, t, y, args):
        return {name: field(t, y[name], None) for name, field in self.fields.items()}


def make():
    keys = jax.random.split(jax.random.key(0), 4)
    ring = nj.fields.Graph([0, 1, 2], [1, 2, 0], 3)
    # The hypernetwork of the wider state holds everything that combines coefficients.
    hyper = nj.fields.HyperField(nj.fields.MLP(3, 2, 1, key=keys[0]), width=2, key=keys[1])
    linear = nj.fields.LinearField([[-0.5, 1.0], [-1.0, -0.2]], offset=[0.3, 0.1], structure="stable")
    fields = {
        "augmented": nj.fields.AugmentedField(jax.tree.map(lambda leaf: leaf + 0.1, hyper), 2, 1),
        "gated": nj.fields.ConcatSquashMLP(2, 2, 1, key=keys[2]),
        "graph": nj.fields.GraphField(1, 2, 1, graph=ring, key=keys[3]),
        "linear": jax.tree.map(lambda leaf: leaf + 0.1, nj.fields.GalerkinField(linear, nj.fields.Polynomials(2))),
    }
    y0 = {name: jnp.array([0.5, -0.4]) for name in fields}
    y0["augmented"] = fields["augmented"].augment(y0["augmented"])
    y0["graph"] = jnp.array([[0.5], [-0.4], [0.2]])
    return Together(fields), y0


@functools.cache
def gradient(name):
    field, y0 = make()
    settings = {"solver": nj.Bosh3(), "controller": nj.PIController(rtol=1e-6, atol=1e-6), "max_steps": 128}
    active, rest = eqx.partition((field, y0), eqx.is_inexact_array)

    def loss(active):
        field, y0 = eqx.combine(active, rest)
        return weigh(nj.odeint(field, y0, jnp.array(TS), adjoint=NAMES[name], **settings).ys)

    if name != "forward":
        return jax.jit(jax.grad(loss))(active)
    leaves, structure = jax.tree.flatten(active)
    random = np.random.default_rng(0)
    tangent = jax.tree.unflatten(structure, [jnp.asarray(random.normal(size=leaf.shape)) for leaf in leaves])
    slope = jax.jit(lambda active, tangent: jax.jvp(loss, (active,), (tangent,))[1])(active, tangent)
    return tangent, slope


@pytest.mark.parametrize("name", NAMES)
def test_every_adjoint_gives_the_same_gradient(x64, name):
    exact = gradient("direct")
    if name == "forward":
        tangent, slope = gradient(name)
        expected = sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (tangent, exact)), strict=True))
        np.testing.assert_allclose(slope, expected, rtol=1e-8)
        return
    tolerance = 1e-3 if name in (*CONTINUOUS, "reversible") else 1e-10
    assert relative_difference(gradient(name), exact) < tolerance


def test_a_batch_is_its_solves_and_diffrax_solves_the_same(x64):
    field, y0 = make()
    starts = jax.tree.map(lambda leaf: jnp.stack([leaf, -0.5 * leaf]), y0)
    settings = {"solver": nj.Euler(), "controller": nj.FixedSteps(4)}
    batch = nj.odeint_batch(field, starts, jnp.array(TS), **settings).ys
    alone = nj.odeint(field, y0, jnp.array(TS), **settings).ys
    term, step = diffrax.ODETerm(field), (TS[-1] - TS[0]) / 8
    foreign = diffrax.diffeqsolve(term, diffrax.Euler(), TS[0], TS[-1], step, y0).ys
    for name in y0:
        np.testing.assert_allclose(batch[name][0], alone[name], rtol=1e-10)
        np.testing.assert_allclose(foreign[name][-1], alone[name][-1], rtol=1e-10)
