"""Batches over eight host devices: run in a process of its own, because the number of devices is set at its start.

Writes one JSON object of differences, which `test_devices` checks.
"""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import node_jax as nj

SIZE = 40
MU = jnp.geomspace(10.0, 0.1, SIZE)
Y0 = jnp.tile(jnp.array([2.0, 0.0]), (SIZE, 1))
TS = jnp.linspace(0.0, 5.0, 7)
EVENT = nj.Event(lambda t, y, args: y[0], terminate=False, max_events=2)


def field(t, y, args):
    stiffness, mu = args
    return jnp.stack([y[1], mu * (1 - y[0] ** 2) * y[1] - stiffness * y[0]])


def solve(y0, stiffness, mu, **settings):
    controller = nj.PIController(1e-6, 1e-6)
    axes = (0, None, (None, 0))
    return nj.odeint_batch(field, y0, TS, (stiffness, mu), in_axes=axes, lanes=3, controller=controller, **settings)


def gradient(**settings):
    def loss(y0, stiffness, mu):
        sol = solve(y0, stiffness, mu, **settings)
        return jnp.sum(sol.ys**2) + jnp.nansum(sol.event_ts), sol

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))


def difference(x, y):
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return max(
        float(np.nanmax(abs(np.asarray(a) - np.asarray(b)) / (1 + np.nanmax(abs(np.asarray(b)))))) for a, b in pairs
    )


def mesh_of(kind, shape=(8,), names=("data",)):
    return jax.make_mesh(shape, names, axis_types=(getattr(AxisType, kind),) * len(names))


def collectives_in_loops(text):
    pattern = r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(-start)?\("
    computations = re.findall(r"^(ENTRY )?%?[\w.\-]+ \([^\n]*\{\n(.*?)^\}", text, flags=re.M | re.S)
    inside = sum(len(re.findall(pattern, body)) for entry, body in computations if not entry)
    return inside, sum(len(re.findall(pattern, body)) for entry, body in computations if entry)


def main():
    found = {}
    arguments = (Y0, jnp.array(1.3), MU)
    (_, alone), gradient_alone = gradient(events=EVENT)(*arguments)
    mesh = mesh_of("Auto")
    compiled = gradient(events=EVENT, mesh=mesh).lower(*arguments).compile()
    (_, dealt), gradient_dealt = compiled(*arguments)
    rows = (alone.ys, alone.event_ts, alone.status, alone.stats.num_accepted)
    found["dealt"] = difference((dealt.ys, dealt.event_ts, dealt.status, dealt.stats.num_accepted), rows)
    found["dealt, gradient"] = difference(gradient_dealt, gradient_alone)
    found["collectives in loops"], found["collectives outside"] = collectives_in_loops(compiled.as_text())
    found["efficiency"] = float(dealt.stats.batch_efficiency)
    odd = solve(Y0[:37], 1.3, MU[:37], mesh=mesh_of("Explicit"))
    found["37 trajectories, explicit axis"] = difference(odd.ys, alone.ys[:37])
    two = solve(*arguments, mesh=mesh_of("Auto", (4, 2), ("data", "model")))
    found["mesh with a second axis"] = difference(two.ys, alone.ys)
    explicit = mesh_of("Explicit")
    sharded = [jax.device_put(x, NamedSharding(explicit, PartitionSpec("data"))) for x in (Y0, MU)]
    hinted = solve(*arguments, mesh=explicit, cost_hint=sharded[1])
    found["a sharded hint of the cost"] = difference(hinted.ys, alone.ys)
    inputs = (sharded[0], 1.3, sharded[1])
    (_, there), gradient_there = gradient(events=EVENT)(*inputs)
    found["sharded inputs"] = difference((there.ys, there.event_ts), (alone.ys, alone.event_ts))
    found["sharded inputs, gradient"] = difference(gradient_there, gradient_alone)
    found["sharded outputs"] = str(there.ys.sharding.spec[0])
    specs = (PartitionSpec("data"), PartitionSpec(), PartitionSpec("data"))
    own = jax.jit(
        jax.shard_map(
            lambda *x: solve(*x).ys, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("data"), check_vma=False
        )
    )
    found["inside shard_map"] = difference(own(*arguments), alone.ys)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
