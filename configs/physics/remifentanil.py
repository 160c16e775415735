"""Remifentanil: three compartments with age and lean mass, as published, fitted to four fifths of 65 people.

Question: Fitted by Laplace's approximation with a proportional and a small additive error, are the parameters those of
    Minto et al. (1997), and how well are held-out samples and held-out people predicted?
Expected: volumes near 6, 10 and 5 l, clearances near 2.5, 1.7 and 0.07 l/min, a relative error of 0.12; 90 % intervals
    that hold about as much (docs/results/physics/README.md).
Cost: a few minutes on 2 CPU cores.
Command: node-jax train configs/physics/remifentanil.py
"""

from node_jax.config import (
    Adam,
    Compartments,
    CosineSchedule,
    PIController,
    Population,
    Run,
    SubjectsData,
    Train,
)

CONFIG = Run(
    name="remifentanil",
    task=Population(
        random=("volume", "clearance", "volume_1", "flow_1"),
        effects=(
            "volume:age",
            "volume:lean mass",
            "clearance:age",
            "clearance:lean mass",
            "volume_1:age",
            "volume_1:lean mass",
            "flow_1:age",
            "flow_2:age",
        ),
        random_scale=0.3,
        additive=0.3,
        proportional=0.2,
        tolerance=1e-3,
    ),
    data=SubjectsData(name="remifentanil", held_out_samples=0.2, num_folds=5),
    field=Compartments(volume=5.0, clearance=2.5, flows=(1.5, 0.1), volumes=(9.0, 5.0)),
    controller=PIController(rtol=1e-4, atol=1e-3),
    max_steps=128,
    optimizer=Adam(lr=2e-2),
    schedule=CosineSchedule(final_fraction=0.01),
    train=Train(num_steps=160, log_every=20, checkpoint_every=80, clip_norm=None),
)
