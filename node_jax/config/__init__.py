"""Typed run configurations: what they may say, how they are stored, and how they become objects.

`from node_jax.config import Run, ...` needs no jax, so that a config file and `--help` answer at once.
"""

from node_jax.config.schema import (
    SGD,
    Adam,
    AdamW,
    ConstantSchedule,
    ConstantStepConfig,
    CosineSchedule,
    CsvData,
    DiffraxSolver,
    Forecast,
    HareLynxData,
    HybridLotkaVolterra,
    MLPField,
    PIControllerConfig,
    RK4Config,
    Run,
    Train,
    Tsit5Config,
)

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "ConstantSchedule",
    "ConstantStepConfig",
    "CosineSchedule",
    "CsvData",
    "DiffraxSolver",
    "Forecast",
    "HareLynxData",
    "HybridLotkaVolterra",
    "MLPField",
    "PIControllerConfig",
    "RK4Config",
    "Run",
    "Train",
    "Tsit5Config",
]
