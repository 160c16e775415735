"""Two bodies, as published: does a network as energy keep the energy that a network as field does not?

Question: From 800 nearly circular orbits of 50 exact states with derivatives, by how much do solves of a Hamiltonian
    network and of a plain network miss the true energy over 25 time units?
Expected: energy MSE near 6e-5 for the Hamiltonian network and near 1 for the plain one
    (docs/results/physics/README.md).
Cost: two minutes on 2 CPU cores.
Command: node-jax train configs/physics/two_body_hnn.py
"""

from node_jax.config import (
    Adam,
    ConstantSchedule,
    DerivativeMatching,
    HamiltonianNetwork,
    MechanicalData,
    MLPField,
    PIController,
    Run,
    Train,
)

CONFIG = Run(
    name="two_body_hnn",
    task=DerivativeMatching(batch_size=200),
    data=MechanicalData(system="two-body", num_rollouts=50),
    field=HamiltonianNetwork(width=200, depth=2, activation="tanh"),
    reference=MLPField(width=200, depth=2, activation="tanh", final_scale=1.0),
    controller=PIController(rtol=1e-6, atol=1e-6),
    max_steps=4096,
    optimizer=Adam(lr=1e-3),
    schedule=ConstantSchedule(),
    train=Train(num_steps=10000, log_every=100, checkpoint_every=2000, clip_norm=None),
)
