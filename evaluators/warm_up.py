"""What precedes the timed requests: until times settle, and each prompt length once.

Loaded by path by the measuring child; standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["first_of_each_length", "settle"]

Request = Callable[[dict[str, Any]], tuple[float, ...]]

# How many prompt lengths are met in any case, and the times of a settled request that the
# first one of a length takes where the device prepares for it. An H200's takes ten times.
_LENGTHS, _PREPARES = 3, 2.0


def settle(
    request: Request, row: dict[str, Any], rules: dict[str, Any], hopeless_s: float
) -> list[float]:
    """Repeat ``row`` until the last three running medians agree, or all are hopeless.

    Args:
        request: makes one and returns its seconds first.
        row: to ask for.
        rules: ``least`` and ``most`` requests, and the ``tolerance`` of the medians.
        hopeless_s: a model that takes longer is not worth more.

    Returns:
        Seconds of each.
    """
    seconds: list[float] = []
    medians: list[float] = []
    while len(seconds) < rules["most"]:
        seconds.append(request(row)[0])
        medians.append(sorted(seconds)[len(seconds) // 2])
        last = medians[-3:]
        settled = max(last) <= min(last) * (1 + rules["tolerance"])
        if len(seconds) >= rules["least"] and (settled or min(seconds) > hopeless_s):
            break
    return seconds


def first_of_each_length(
    request: Request, rows: list[dict[str, Any]], *, seen: int, settled_s: float
) -> list[float]:
    """Make one request of every prompt length but ``seen``; return the seconds of each.

    Devices prepare kernels for a length when they first meet it, which a service does once
    in its life and a short block of requests at every turn. Ends after a few that were
    hardly slower than ``settled_s``, that of a length which is prepared.
    """
    seconds: list[float] = []
    lengths = {seen}
    for row in rows:
        length = len(row["prompt_ids"])
        if length in lengths:
            continue
        lengths.add(length)
        seconds.append(request(row)[0])
        if len(seconds) == _LENGTHS and max(seconds) < _PREPARES * settled_s:
            break
    return seconds
