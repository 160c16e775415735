"""Theophylline: does the Laplace approximation of one compartment find the published population?

Question: Fitted to 12 people with 11 concentrations each after one dose by mouth, are the fixed effects of a
    one-compartment model with first-order absorption those of R's nlme?
Expected: lKe -2.465, lKa 0.481, lCl -3.230; of nlme -2.455, 0.466 and -3.227, so that ka, ke and CL differ by less than
    2 %; standard deviations 0.66 of lKa and 0.167 of lCl among people, error 0.708 mg/l
    (docs/results/physics/README.md).
Cost: about a minute on 2 CPU cores.
Command: node-jax train configs/physics/theophylline.py
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
    name="theophylline",
    task=Population(random=("absorption", "clearance"), additive=0.7),
    data=SubjectsData(name="theophylline"),
    field=Compartments(elimination=0.1, absorption=1.5, clearance=0.05),
    controller=PIController(rtol=1e-4, atol=1e-4),
    max_steps=128,
    optimizer=Adam(lr=3e-2),
    schedule=CosineSchedule(final_fraction=0.01),
    train=Train(num_steps=200, log_every=20, checkpoint_every=100, clip_norm=None),
)
