"""A message's definition with all that it is made of, as one text: the schema encoding `ros2msg`.

https://mcap.dev/spec/registry#ros2msg: the definition of the message itself, then that of each
type it needs, directly or not, each after a line of = and one that names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_SEPARATOR = "=" * 80
_BUILT_IN = re.compile(r"bool|byte|char|w?string|u?int(8|16|32|64)|float(32|64)")
# A field: a type, perhaps with a bound, perhaps an array, and a name. So are constants, whose types
# are built-in.
_FIELD = re.compile(r"^\s*([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]\w*")


def complete_definition(name: str, read: Callable[[str], str]) -> str:
    """Put a definition and those that it needs together.

    Args:
        name: of a type, such as std_msgs/Header.
        read: the text of a type's .msg file, by the type's name.

    Returns:
        The schema. Each type is in it once, in the order in which it is first needed.
    """
    texts = {name: read(name)}
    waiting = [name]
    while waiting:
        user = waiting.pop(0)
        for needed in needed_types(texts[user], package=user.partition("/")[0]):
            if needed not in texts:
                texts[needed] = read(needed)
                waiting.append(needed)
    first, *others = texts.items()
    parts = [first[1].rstrip("\n")]
    parts += [f"{_SEPARATOR}\nMSG: {other}\n{text.rstrip()}" for other, text in others]
    return "\n".join(parts) + "\n"


def needed_types(definition: str, package: str) -> Iterator[str]:
    """Name the types of a definition's fields that are themselves messages.

    Args:
        definition: text of a .msg file.
        package: that it belongs to, and so each type in it that names none.
    """
    for line in definition.splitlines():
        field = _FIELD.match(line)
        if field is not None and not _BUILT_IN.fullmatch(field[1]):
            parts = field[1].split("/")
            yield f"{parts[0]}/{parts[-1]}" if len(parts) > 1 else f"{package}/{parts[0]}"
