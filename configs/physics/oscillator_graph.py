"""Oscillators on graphs: does a graph neural ODE learn a law of neighbours that holds on other graphs?

Question: From noisy trajectories of three random graphs of five oscillators with nonlinear springs, does a field of
    messages between neighbours predict graphs of another size and topology, without training on them?
Expected: a validation loss of about 0.01 over the first five time units from new starts, where a field without coupling
    has 1. `python -m experiments.physics.oscillator_graph` takes the field to graphs of another size and topology,
    beside a network for the flattened state, a mean-field coupling and none.
Cost: a minute on 2 CPU cores.
Command: node-jax train configs/physics/oscillator_graph.py
"""

from node_jax.config import (
    RK4,
    Adam,
    Collocation,
    CosineSchedule,
    FixedSteps,
    GraphMLPField,
    MultipleShooting,
    OscillatorNetworkData,
    Run,
    Train,
    Trajectory,
)

CONFIG = Run(
    name="oscillator_graph",
    task=Trajectory(
        stages=(
            Collocation(num_steps=1500, batch_size=128),
            MultipleShooting(num_steps=400, segment_steps=5, continuity=(0.1, 1.0), batch_size=32),
        ),
        validation_steps=50,
        transform="none",
    ),
    data=OscillatorNetworkData(),
    field=GraphMLPField(width=32, depth=2, message_dim=16, activation="silu", final_scale=1.0),
    solver=RK4(),
    controller=FixedSteps(n=1),
    optimizer=Adam(lr=5e-3),
    schedule=CosineSchedule(final_fraction=0.01),
    train=Train(log_every=50, checkpoint_every=100),
)
