"""The data of a config: read, or simulated."""

from node_jax.config.builders.graphs import load_oscillators
from node_jax.config.builders.systems import (
    load_controlled_pendulum,
    load_damped_oscillator,
    load_mechanics,
    load_simulated,
)
from node_jax.config.data import (
    ControlledPendulumData,
    CsvData,
    DampedOscillatorData,
    Data,
    HareLynxData,
    MechanicalData,
    OscillatorNetworkData,
    SimulatedData,
)
from node_jax.data import (
    Readings,
    TimeSeries,
    Trajectories,
    as_trajectories,
    load_hare_lynx,
    load_table,
    read_csv_series,
)


def load_series(data: HareLynxData | CsvData) -> TimeSeries:
    """One measured series."""
    if isinstance(data, HareLynxData):
        return load_hare_lynx().between(*data.years)
    return read_csv_series(
        data.path,
        data.time,
        data.columns,
        time_unit=data.time_unit,
        value_unit=data.value_unit,
        has_missing=data.has_missing,
    )


def load_crash_test() -> Readings:
    """All readings of the crash test."""
    table = load_table("mcycle")
    units = ("head acceleration", "ms", "g", "mcycle (Silverman 1985)")
    return Readings(table["times"].astype(float), table["accel"].astype(float), *units)


def load_trajectories(
    data: Data, seed: int, train_until: float | None = None
) -> tuple[Trajectories, Trajectories | None]:
    """What is fitted, and what validates.

    Arguments:
        data: of the run.
        seed: of the run, for what is simulated.
        train_until: the last time that is fitted of a measured series, in its unit; `None` fits all.
    """
    match data:
        case HareLynxData() | CsvData():
            series = load_series(data)
            if train_until is None:
                return as_trajectories(series), None
            train, test = series.split(train_until)
            return as_trajectories(train), as_trajectories(test)
        case SimulatedData():
            return load_simulated(data, seed)
        case MechanicalData():
            made = load_mechanics(data, seed)
            return made.train.as_trajectories(), made.test.as_trajectories()
        case ControlledPendulumData():
            return load_controlled_pendulum(data, seed)
        case DampedOscillatorData():
            return load_damped_oscillator(data, seed)
        case OscillatorNetworkData():
            return load_oscillators(data, seed)
    raise TypeError(f"load_trajectories: expected trajectories, got {type(data).__name__}.")
