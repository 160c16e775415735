"""Series are read as they stand and refused with the row that is wrong."""

import numpy as np
import pytest

import node_jax as nj


def test_hare_and_lynx_are_the_published_counts():
    series = nj.data.load_hare_lynx()
    assert series.times.tolist() == list(range(1845, 1936))
    assert series.names == ("hare", "lynx")
    assert series.values[0].tolist() == [19580, 30090]
    assert series.values[-1].tolist() == [15760, 35400]


def test_split_keeps_every_row_once():
    train, test = nj.data.load_hare_lynx().split(1904)
    assert train.times[-1] == 1904
    assert test.times[0] == 1905
    assert len(train.times) + len(test.times) == 91


def _read(tmp_path, text, columns=("y",)):
    path = tmp_path / "series.csv"
    path.write_text(text)
    return nj.data.read_csv_series(path, "t", columns, time_unit="s", value_unit="m")


def test_a_csv_file_is_read(tmp_path):
    series = _read(tmp_path, "t,x,y\n0,9,1\n0.5,9,2\n2,9,3\n")
    np.testing.assert_array_equal(series.values[:, 0], [1, 2, 3])
    np.testing.assert_array_equal(series.times, [0, 0.5, 2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,y\n0,1\n1,\n2,3\n", "finite values, got nan for 'y' at s 1 \\(row 2\\)"),
        ("t,y\n0,1\n2,nan\n1,3\n", "finite values"),
        ("t,y\n0,1\n2,2\n1,3\n", "increasing times, got 2 before 1 \\(rows 2 and 3\\)"),
        ("t,y\n0,1\n1,two\n", "a number in column 'y', row 2, got 'two'"),
        ("t,z\n0,1\n1,2\n", "a column 'y', got columns \\['t', 'z'\\]"),
        ("t,y\n0,1\n", "at least 2 rows"),
        ("t,y\n0,1\n1,2\ninf,3\n", "finite times, got inf \\(row 3\\)"),
        ("", "a column 't'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(nj.UsageError, match=message):
        _read(tmp_path, text)


def test_a_byte_order_mark_is_read_and_another_encoding_named(tmp_path):
    assert _read(tmp_path, "\ufefft,y\n0,1\n1,2\n").times.tolist() == [0, 1]
    (tmp_path / "latin.csv").write_bytes("t,y\n0,1\n1,2 \xe9\n".encode("latin-1"))
    with pytest.raises(nj.UsageError, match="UTF-8"):
        nj.data.read_csv_series(tmp_path / "latin.csv", "t", ("y",), time_unit="s", value_unit="m")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(nj.UsageError, match="readable CSV"):
        nj.data.read_csv_series(tmp_path / "none.csv", "t", ("y",), time_unit="s", value_unit="m")


def test_a_split_that_leaves_nothing_is_refused():
    with pytest.raises(nj.UsageError, match="at least 2 rows on each side"):
        nj.data.load_hare_lynx().split(1950)
