"""The Hudson Bay Company's fur returns of snowshoe hare and Canada lynx."""

from pathlib import Path

from node_jax.data.series import TimeSeries, read_csv_series


def load_hare_lynx() -> TimeSeries:
    """Pelts of snowshoe hare and Canada lynx traded a year, 1845-1935, 91 rows.

    Times are calendar years; values are numbers of pelts a year, columns `hare` and `lynx`. The two cycle with a
    period of about ten years.

    Source: counts of the Hudson Bay Company, from MacLulich (1937), Fluctuations in the numbers of the varying hare,
    University of Toronto Studies, Biological Series 43; historical facts, free of copyright.

    Example:
        >>> import node_jax as nj
        >>> series = nj.data.load_hare_lynx()
        >>> series.values.shape, float(series.times[0])
        ((91, 2), 1845.0)
    """
    return read_csv_series(
        Path(__file__).with_name("hare_lynx.csv"),
        "year",
        ("hare", "lynx"),
        time_unit="year",
        value_unit="pelts",
        source="Hudson Bay Company fur returns 1845-1935 (MacLulich 1937)",
    )
