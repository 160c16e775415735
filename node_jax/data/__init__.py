"""Real data: tiny historical sets that travel with the package, and readers for standard formats."""

from node_jax.data.hare_lynx import load_hare_lynx
from node_jax.data.series import TimeSeries, read_csv_series

__all__ = ["TimeSeries", "load_hare_lynx", "read_csv_series"]
