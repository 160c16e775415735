"""Where the numbers come from."""

from typing import TypeAlias

from node_jax.config.data.labelled import ConcentricSpheresData, DigitsData
from node_jax.config.data.measured import CrashTestData, CsvData, HareLynxData
from node_jax.config.data.simulated import (
    ControlledPendulumData,
    DampedOscillatorData,
    MechanicalData,
    OscillatorNetworkData,
    SimulatedData,
)
from node_jax.config.data.subjects import SubjectsData

Series: TypeAlias = HareLynxData | CsvData
"""One measured series."""
Simulated: TypeAlias = (
    SimulatedData | MechanicalData | ControlledPendulumData | DampedOscillatorData | OscillatorNetworkData
)
"""Several trajectories, of which some may be held out."""
Labelled: TypeAlias = ConcentricSpheresData | DigitsData
"""Points with labels."""
Data: TypeAlias = Series | Simulated | Labelled | CrashTestData | SubjectsData

__all__ = [
    "ConcentricSpheresData",
    "ControlledPendulumData",
    "CrashTestData",
    "CsvData",
    "DampedOscillatorData",
    "Data",
    "DigitsData",
    "HareLynxData",
    "Labelled",
    "MechanicalData",
    "OscillatorNetworkData",
    "Series",
    "Simulated",
    "SimulatedData",
    "SubjectsData",
]
