"""Pendulum: how much of the energy error of a Hamiltonian network is noise that the data can take out?

Question: The derivatives of this data set are exact, the states are not. If states are the integrated derivatives, and
    the kinetic energy is known to be quadratic in the momenta, how much smaller is the energy MSE?
Expected: energy MSE near 5e-5, against 6e-4 with the published set-up; that of the plain network near 2e-3
    (docs/results/physics/README.md).
Cost: under a minute on 2 CPU cores.
Command: node-jax train configs/physics/pendulum.py
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
    name="pendulum",
    task=DerivativeMatching(integrates_derivatives=True),
    data=MechanicalData(system="pendulum", num_rollouts=50),
    field=HamiltonianNetwork(width=64, depth=2, activation="silu", structure="natural"),
    reference=MLPField(width=64, depth=2, activation="silu", final_scale=1.0),
    controller=PIController(rtol=1e-6, atol=1e-6),
    max_steps=4096,
    optimizer=Adam(lr=3e-3),
    schedule=CosineSchedule(final_fraction=0.01),
    train=Train(num_steps=3000, log_every=100, checkpoint_every=1000, clip_norm=None),
)
