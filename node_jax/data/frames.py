"""Tables pickled by pandas, read without pandas by an unpickler that can build nothing but arrays."""

import importlib
import io
import pickle
from typing import Any

import numpy as np

from node_jax.errors import DataError


def read_frame(pickled: bytes) -> dict[str, np.ndarray]:
    """The columns of a pickled `pandas.DataFrame`.

    The bytes come from a file whose sha256 is known, so what they hold is known as well: blocks of columns of one
    dtype, the names of the columns, and a plain row index. Nothing else is built, so that a pickle can run no code.

    Arguments:
        pickled: as `DataFrame.to_pickle` of pandas 1.5 to 3 writes it, not compressed.

    Returns:
        The columns by name, each of shape (row,), text as `np.str_`.

    Raises:
        DataError: if the pickle asks for anything else.
    """
    try:
        frame = _FrameUnpickler(io.BytesIO(pickled)).load()
        blocks, (names, _) = frame.state["_mgr"].arguments
        columns: dict[int, np.ndarray] = {}
        for block in blocks:
            values, places, _ = block.arguments
            rows = np.arange(len(names.arguments[1]["data"]))[places]
            columns |= dict(zip(rows.tolist(), values, strict=True))
        named = {str(name): columns[i] for i, name in enumerate(names.arguments[1]["data"])}
    except pickle.UnpicklingError as error:
        raise DataError(f"read_frame: expected a pickled table of numbers and text, got: {error}.") from error
    except Exception as error:
        raise DataError(
            f"read_frame: expected a pickled table in the layout of pandas, got {type(error).__name__}: {error}."
        ) from error
    return {name: column.astype(str) if column.dtype == object else column for name, column in named.items()}


class _Part:
    """What stands for an object of pandas: the arguments it was to be built from, and its state."""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> "_Part":
        part = super().__new__(cls)
        part.arguments, part.state = arguments, None
        return part

    def __setstate__(self, state: Any) -> None:
        self.state = state


_PARTS = {
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.internals.managers", "BlockManager"),
    ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
}
_NUMPY = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
}


class _FrameUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PARTS:
            return _Part
        if (module, name) == ("builtins", "slice"):
            return slice
        # numpy 2 renamed numpy.core.
        module = module.replace("numpy.core.", "numpy._core.")
        if (module, name) in _NUMPY:
            return getattr(importlib.import_module(module), name)
        raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}")
