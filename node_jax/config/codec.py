"""Configs to and from JSON, strictly.

Every dataclass is an object with its class name under `kind`; an unknown kind or key, a missing key or a wrong type is
an error that names the path, and the nearest name that exists.
"""

import dataclasses
import difflib
import json
import types
import typing
from typing import Any, TypeVar

from node_jax.errors import UsageError

T = TypeVar("T")


def to_json(config: Any) -> str:
    """The config as indented JSON."""
    return json.dumps(_encode(config), indent=2) + "\n"


def from_json(text: str, expected: type[T], where: str) -> T:
    """The config that `to_json` wrote.

    Arguments:
        text: the JSON.
        expected: the dataclass at the top.
        where: named in errors, usually the file.

    Raises:
        UsageError: for anything that does not fit.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}: expected JSON, got an error in line {error.lineno}: {error.msg}.") from error
    return _decode(value, expected, where)


def check_types(config: T, where: str) -> T:
    """The config itself if every field holds what its type says; a Python file may have put anything there."""
    return _decode(_encode(config), type(config), where)


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        return [_encode(item) for item in value]
    return value


def _nearest(name: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(map(repr, known))}."


def _decode(value: Any, expected: Any, path: str) -> Any:
    origin = typing.get_origin(expected)
    if origin in (types.UnionType, typing.Union):
        return _decode_union(value, typing.get_args(expected), path)
    if origin is typing.Literal:
        if value not in typing.get_args(expected):
            options = [str(option) for option in typing.get_args(expected)]
            raise UsageError(f"{path}: unknown value {value!r}; {_nearest(value, options)}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{path}: expected a list, got {value!r}.")
        return tuple(_decode(item, typing.get_args(expected)[0], f"{path}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(expected):
        return _decode_dataclass(value, expected, path)
    if expected is type(None):
        if value is not None:
            raise UsageError(f"{path}: expected nothing (null), got {value!r}.")
        return None
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise UsageError(f"{path}: expected {expected.__name__}, got {value!r} ({type(value).__name__}).")
    return value


def _decode_union(value: Any, options: tuple[Any, ...], path: str) -> Any:
    if value is None and type(None) in options:
        return None
    kinds = {
        option.__name__: option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)
    }
    if isinstance(value, dict) and kinds:
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            raise UsageError(f"{path}: unknown kind {kind!r}; {_nearest(kind, list(kinds))}")
        return _decode(value, kinds[kind], path)
    plain = [option for option in options if option is not type(None)]
    if len(plain) == 1:
        return _decode(value, plain[0], path)
    names = ", ".join(option.__name__ for option in plain)
    raise UsageError(f"{path}: expected one of {names}, got {value!r}.")


def _decode_dataclass(value: Any, expected: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise UsageError(f"{path}: expected {expected.__name__}, got {value!r}.")
    kind = value.get("kind")
    if kind != expected.__name__:
        raise UsageError(f"{path}: expected kind {expected.__name__!r}, got {kind!r}.")
    hints = typing.get_type_hints(expected)
    names = [f.name for f in dataclasses.fields(expected)]
    for key in value:
        if key != "kind" and key not in names:
            raise UsageError(f"{path}: unknown key {key!r}; {_nearest(key, names)}")
    for name in names:
        if name not in value:
            raise UsageError(f"{path}: expected the key {name!r}, which is missing.")
    return expected(**{name: _decode(value[name], hints[name], f"{path}.{name}") for name in names})
