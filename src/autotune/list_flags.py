"""Lists on the command line: read, checked, and for a sweep turned into a space."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast, get_args

from autotune.candidate import MergeBase, Method, Schedule
from autotune.errors import UsageError
from autotune.search import SearchSpace
from autotune.trainings import Trainings

__all__ = [
    "read_layers",
    "read_merge_bases",
    "read_methods",
    "read_names",
    "read_space",
    "read_trainings",
]

T = TypeVar("T", str, float, int)


def read_space(
    *,
    methods: str,
    learning_rates: str,
    ranks: str,
    merge_bases: str,
    epochs: float,
    seed: int,
    quantisers: str | None = None,
) -> SearchSpace:
    """Return the space whose grid is every combination of the values.

    Raises:
        UsageError: an empty list, a value twice, unknown or out of range.
    """
    if not (math.isfinite(epochs) and epochs > 0):
        raise UsageError(f"--epochs must be finite and greater than zero, got {epochs!r}.")
    return SearchSpace(
        methods=read_methods(methods),
        learning_rates=_values("--learning-rates", learning_rates, _rate),
        ranks=_values("--ranks", ranks, _rank),
        merge_bases=read_merge_bases(merge_bases),
        quantisers=() if quantisers is None else read_names("--quantisers", quantisers),
        epochs=(epochs,),
        seed=seed,
    )


def read_trainings(
    *,
    methods: str | None = None,
    merge_bases: str | None = None,
    quantisers: str | None = None,
    target_modules: str | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    schedule: str | None = None,
    clip_norm: float | None = None,
    rslora: bool = False,
    double_quant: bool = True,
) -> Trainings:
    """Return what the flags say about training; None is a flag that was not given.

    Raises:
        UsageError: as ``read_names``, an unknown value, or flags that contradict each other.
    """
    given: dict[str, Any] = {
        "epochs": epochs,
        "steps": steps,
        "rslora": rslora,
        "double_quant": double_quant,
    }
    if methods is not None:
        given["methods"] = read_methods(methods)
    if merge_bases is not None:
        given["merge_bases"] = read_merge_bases(merge_bases)
    if quantisers is not None:
        given["quantisers"] = read_names("--quantisers", quantisers)
    if target_modules is not None:
        given["target_modules"] = read_names("--target-modules", target_modules)
    if schedule is not None:
        (given["schedule"],) = _choices("--schedule", schedule, get_args(Schedule), most=1)
    if clip_norm is not None:
        given["clip_norm"] = clip_norm or None
    return Trainings(**given)


def read_layers(text: str | None) -> tuple[int, ...] | None:
    """Return the depths of ``--layers``, deepest first; None where that was not given.

    >>> read_layers("15,20"), read_layers("all")
    ((20, 15), ())

    Raises:
        UsageError: as ``read_names``, or no count of layers.
    """
    if text is None:
        return None
    if text.strip().lower() == "all":
        return ()
    found = _values("--layers", text, _layers)
    return tuple(sorted(found, reverse=True))


def read_methods(text: str) -> tuple[Method, ...]:
    """Return the methods of ``--methods``.

    Raises:
        UsageError: as ``read_names``, or an unknown one.
    """
    return cast("tuple[Method, ...]", _choices("--methods", text, get_args(Method)))


def read_merge_bases(text: str) -> tuple[MergeBase, ...]:
    """Return the bases of ``--merge-bases``.

    Raises:
        UsageError: as ``read_names``, or an unknown one.
    """
    return cast("tuple[MergeBase, ...]", _choices("--merge-bases", text, get_args(MergeBase)))


def read_names(flag: str, text: str) -> tuple[str, ...]:
    """Return the words of a comma list.

    >>> read_names("--recipes", "cpu-fp32, cpu-int8-b32")
    ('cpu-fp32', 'cpu-int8-b32')

    Raises:
        UsageError: none, an empty one, or one twice.
    """
    return _values(flag, text, str)


def _choices(
    flag: str, text: str, known: Sequence[str], *, most: int | None = None
) -> tuple[str, ...]:
    found = _values(flag, text, str)
    if most is not None and len(found) > most:
        raise UsageError(f"{flag} is one of {', '.join(known)}, got {text!r}.")
    for word in found:
        if word not in known:
            near = difflib.get_close_matches(word.lower(), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise UsageError(f"{flag} has no {word!r} (known: {', '.join(known)}){hint}")
    return found


def _values(flag: str, text: str, read: Callable[[str], T]) -> tuple[T, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(
            f"{flag} is a list of values separated by commas, got {text!r};"
            " give at least one, with nothing left out between two commas."
        )
    try:
        found = tuple(read(word) for word in words)
    except ValueError as error:
        raise UsageError(f"{flag} {error}, got {text!r}.") from None
    if len(set(found)) < len(found):
        raise UsageError(f"{flag} has a value twice, got {text!r}; leave one out.")
    return found


def _rate(word: str) -> float:
    try:
        rate = float(word)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise ValueError("are finite numbers greater than zero")
    return rate


def _rank(word: str) -> int:
    return _count(word, "are whole numbers of at least 1")


def _layers(word: str) -> int:
    return _count(word, "is 'all', or whole numbers of at least 1")


def _count(word: str, rule: str) -> int:
    if not word.isascii() or not word.isdigit() or int(word) < 1:
        raise ValueError(rule)
    return int(word)
