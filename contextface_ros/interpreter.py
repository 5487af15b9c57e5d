"""One of our modules run as a process of its own, under this very interpreter and its packages."""

from __future__ import annotations

import sys


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs `module` as a program.

    `python -m` looks for modules in the present folder first: in a checkout it would find this
    package without its messages. So the new process looks where this one does, and nowhere else.

    Args:
        module: its full name.
        arguments: what follows in its sys.argv.
    """
    path = f"import sys; sys.path[:] = {sys.path!r}"
    run = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return [sys.executable, "-c", f"{path}; {run}", *arguments]
