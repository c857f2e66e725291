"""How the entry of a job is read: a function, or the file of a module run as a script."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotune.errors import UsageError

__all__ = ["Entry", "read_entry"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where the code of a job lives.

    Attributes:
        kind: ``function`` is imported by the worker, ``script`` is run as ``__main__``.
        place: a dotted module name, or a path that ends in ``.py``.
        function: its name, empty for a script.
    """

    kind: Literal["function", "script"]
    place: str
    function: str = ""


def read_entry(text: str) -> Entry:
    """Return what ``text`` names: ``module:function``, ``module``, or either with a file.

    >>> read_entry("json:loads")
    Entry(kind='function', place='json', function='loads')

    Raises:
        UsageError: there is no such module or file.
    """
    place, colon, function = text.rpartition(":")
    # A drive letter (C:\\child.py) has a colon as well; what follows it is no name.
    if colon and function.isidentifier():
        return Entry(kind="function", place=place, function=function)
    return Entry(kind="script", place=_file_of(text))


def _file_of(text: str) -> str:
    if text.endswith(".py"):
        if not Path(text).is_file():
            raise UsageError(f"There is no script {text!r}; give the path of an existing file.")
        return str(Path(text).resolve())
    # Imports the parents of the module, which are light, but not the module.
    spec = importlib.util.find_spec(text)
    if spec is None or spec.origin is None:
        raise UsageError(f"There is no module {text!r} to run; check the name of the entry.")
    return spec.origin
