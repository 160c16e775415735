"""Concentric spheres, an augmented neural ODE: what do five dimensions more change?

Question: In the set-up of Dupont et al. (2019, arXiv:1904.01681; their config.json), does a neural ODE with five
    components beside the data separate the classes, and what does a solve cost through training?
Expected: the classes are separated, with evaluations that grow by a quarter
    (`python -m experiments.physics.concentric_spheres` measures it).
Cost: half a minute on 2 CPU cores.
Command: node-jax train configs/physics/concentric_spheres_augmented.py
"""

from node_jax.config import Adam, Classification, ConcentricSpheresData, ConstantSchedule, MLPField, Run, Train

CONFIG = Run(
    name="concentric_spheres_augmented",
    task=Classification(batch_size=64, criterion="huber", num_augmented=5),
    data=ConcentricSpheresData(),
    field=MLPField(width=32, depth=2, activation="relu", is_time_dependent=True, final_scale=1.0),
    max_steps=512,
    optimizer=Adam(lr=1e-3),
    schedule=ConstantSchedule(),
    train=Train(num_steps=960, log_every=32, checkpoint_every=96, clip_norm=None),
)
