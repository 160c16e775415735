"""Real data: tiny historical sets that travel with the package, and readers for standard formats."""

from node_jax.data.hare_lynx import load_hare_lynx
from node_jax.data.ragged import RaggedBatch, buckets, ragged
from node_jax.data.series import TimeSeries, read_csv_series

__all__ = ["RaggedBatch", "TimeSeries", "buckets", "load_hare_lynx", "ragged", "read_csv_series"]
