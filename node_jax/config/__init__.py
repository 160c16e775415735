"""Typed run configurations: what they may say, how they are stored, and how they become objects.

`from node_jax.config import Run, ...` needs no jax, so that a config file and `--help` answer at once.
"""

from node_jax.config.schema import (
    RK4,
    SGD,
    Adam,
    AdamW,
    ConstantSchedule,
    ConstantStep,
    CosineSchedule,
    CsvData,
    DiffraxSolver,
    Forecast,
    HareLynxData,
    HybridLotkaVolterra,
    MLPField,
    PIController,
    Run,
    Train,
    Tsit5,
)

__all__ = [
    "RK4",
    "SGD",
    "Adam",
    "AdamW",
    "ConstantSchedule",
    "ConstantStep",
    "CosineSchedule",
    "CsvData",
    "DiffraxSolver",
    "Forecast",
    "HareLynxData",
    "HybridLotkaVolterra",
    "MLPField",
    "PIController",
    "Run",
    "Train",
    "Tsit5",
]
