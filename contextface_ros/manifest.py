"""YAML <-> frozen dataclasses, for files that strangers may have written.

The fields of the dataclass are the keys of the file. Unknown keys are refused by naming the known
ones; values are checked by the dataclass itself, in its __post_init__, with the checks below.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
import typing
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar

import yaml

from contextface_ros.errors import BadBundle

MAX_BYTES = 256 << 10

_Part = TypeVar("_Part")


def parse(kind: type[_Part], data: bytes) -> _Part:
    """An instance of the dataclass `kind` from a YAML file's bytes.

    A field with `metadata={"derived": True}` is no key of the file.

    Raises:
        BadBundle: too large, not YAML, or a key or value that is unknown, missing or unfit.
    """
    require(len(data) <= MAX_BYTES, f"it is larger than {MAX_BYTES >> 10} kB")
    try:
        content = yaml.safe_load(data.decode("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: not UTF-8, or an impossible date; RecursionError: nested without end
        raise BadBundle(f"it is not YAML: {' '.join(str(error).split())[:200]}") from error
    return _build(kind, content, "it")


def dump(part: Any) -> str:
    """The YAML that `parse` makes an equal dataclass of. Empty fields are left out."""
    return yaml.safe_dump(plain(part), sort_keys=False, allow_unicode=True, width=100)


def plain(part: Any) -> dict[str, Any]:
    """The mapping that `dump` writes."""
    content: dict[str, Any] = {}
    for field in _fields(type(part)):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            value = plain(value)
        elif isinstance(value, Mapping):
            value = dict(value)
        if value is not None and value != "" and value != {}:
            content[field.name] = value
    return content


def _build(kind: type[_Part], content: object, name: str) -> _Part:
    if not isinstance(content, Mapping):
        raise BadBundle(f"{name} is {show(content)}, not a mapping")
    fields = {field.name: field for field in _fields(kind)}
    known = ", ".join(fields)
    for key in content:
        require(key in fields, f"{name} has the unknown key {show(key)}, known are: {known}")
    for key, field in fields.items():
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        require(key in content or optional, f"{name} lacks {key}")
    hints = typing.get_type_hints(kind)
    values = {key: _value(hints[key], value, key) for key, value in content.items()}
    return kind(**values)


def _value(hint: Any, value: object, name: str) -> object:
    for option in (hint, *typing.get_args(hint)):  # `Adapter | None` has the option Adapter
        if dataclasses.is_dataclass(option) and value is not None:
            return _build(typing.cast("type[Any]", option), value, name)
    return value


def _fields(kind: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(kind) if not field.metadata.get("derived")]


# --- checks for a __post_init__ -----------------------------------------------------------------


def require(condition: bool, otherwise: str) -> None:
    """Raise BadBundle with the sentence `otherwise` unless `condition` holds."""
    if not condition:
        raise BadBundle(otherwise)


def show(value: object) -> str:
    """A value for a message, cut short: a small YAML with aliases can print as gigabytes."""
    return reprlib.repr(value)


def is_number(value: object) -> bool:
    """Whether this is a finite int or float (and no bool)."""
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value)


def require_text(value: object, what: str) -> None:
    """Raise BadBundle unless `value` is printable, non-empty text."""
    usable = isinstance(value, str) and bool(value.strip()) and value.isprintable()
    require(usable, f"{what} is {show(value)}, it must be text (a number in quotes)")


def require_choice(value: object, what: str, known: tuple[str, ...]) -> None:
    """Raise BadBundle unless `value` is one of `known`, which the message names."""
    require(value in known, f"{what} is {show(value)}, known are: {', '.join(known)}")


def require_file_name(value: object, what: str) -> None:
    """Raise BadBundle unless `value` names a file within a folder: relative and without `..`."""
    require_text(value, what)
    path = PurePosixPath(str(value))
    inside = (
        not path.is_absolute() and path.parts and ".." not in path.parts and "\\" not in str(value)
    )
    require(
        bool(inside), f"{what} is {show(value)}, it must be a name within the folder, without '..'"
    )
