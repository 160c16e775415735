"""Two bodies: what do a schedule and a known form of the kinetic energy make of a Hamiltonian network?

Question: From 800 nearly circular orbits of 50 exact states with derivatives, with a third of the published width, less
    than half of its steps, and a kinetic energy that is quadratic in the momenta, by how much do solves of 25 time
    units miss the energy?
Expected: energy MSE near 3e-7, against 4e-5 as published; the plain network leaves its orbits
    (docs/results/physics/README.md).
Cost: under a minute on 2 CPU cores.
Command: node-jax train configs/physics/two_body.py
"""

from node_jax.config import (
    Adam,
    CosineSchedule,
    DerivativeMatching,
    HamiltonianNetwork,
    MechanicalData,
    MLPField,
    PIController,
    Run,
    Train,
)

CONFIG = Run(
    name="two_body",
    task=DerivativeMatching(batch_size=200),
    data=MechanicalData(system="two-body", num_rollouts=50),
    field=HamiltonianNetwork(width=64, depth=2, activation="silu", structure="natural"),
    reference=MLPField(width=64, depth=2, activation="silu", final_scale=1.0),
    controller=PIController(rtol=1e-6, atol=1e-6),
    max_steps=4096,
    optimizer=Adam(lr=5e-3),
    schedule=CosineSchedule(final_fraction=0.0),
    train=Train(num_steps=4000, log_every=100, checkpoint_every=1000, clip_norm=None),
)
