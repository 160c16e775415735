"""Pendulum, as published: does a network as energy keep the energy that a network as field does not?

Question: From 25 trajectories of 45 noisy states with exact derivatives, by how much do solves of a Hamiltonian network
    and of a plain network miss the true energy? They start within the ring that the training trajectories fill.
Expected: energy MSE near 6e-4 for the Hamiltonian network and near 0.3 for the plain one, over 20 time units
    (docs/results/physics/README.md).
Cost: about a minute on 2 CPU cores.
Command: node-jax train configs/physics/pendulum_hnn.py
"""

from node_jax.config import (
    Adam,
    ConstantSchedule,
    DerivativeMatching,
    HamiltonianNetwork,
    MechanicalData,
    MLPField,
    PIController,
    Regularize,
    Run,
    Train,
)

CONFIG = Run(
    name="pendulum_hnn",
    task=DerivativeMatching(),
    data=MechanicalData(system="pendulum", num_rollouts=50),
    field=HamiltonianNetwork(width=200, depth=2, activation="tanh"),
    reference=MLPField(width=200, depth=2, activation="tanh", final_scale=1.0),
    controller=PIController(rtol=1e-6, atol=1e-6),
    max_steps=4096,
    optimizer=Adam(lr=1e-3),
    schedule=ConstantSchedule(),
    # The gradient of this penalty is the weight decay of 1e-4 that the published optimizer adds to the gradient.
    regularize=Regularize(l2=5e-5),
    train=Train(num_steps=2000, log_every=100, checkpoint_every=500, clip_norm=None),
)
