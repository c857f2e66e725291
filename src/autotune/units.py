"""Quantities as people write them: ``50ms``, ``1.5s``, ``4GB``, ``4GiB``, ``1pp``.

A bare number is always an error that offers its readings, because peers that
accept one read it differently (Olive seconds, llama-bench milliseconds).
Everything is kept in base units: seconds, bytes, joules, fractions.
"""

from __future__ import annotations

import math
import re

from autotune.errors import UnitError

__all__ = [
    "DURATION_UNITS",
    "ENERGY_UNITS",
    "FRACTION_UNITS",
    "SIZE_UNITS",
    "format_duration",
    "format_energy",
    "format_fraction",
    "format_quantity",
    "format_size",
    "parse_duration",
    "parse_energy",
    "parse_fraction",
    "parse_size",
]

DURATION_UNITS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
# SI prefixes are powers of 1000, IEC prefixes powers of 1024 (IEC 80000-13).
SIZE_UNITS = {
    "B": 1.0,
    "kB": 1e3,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
    "TiB": 2.0**40,
}
ENERGY_UNITS = {
    "uJ": 1e-6,
    "mJ": 1e-3,
    "J": 1.0,
    "kJ": 1e3,
    "mWh": 3.6,
    "Wh": 3600.0,
    "kWh": 3.6e6,
}
FRACTION_UNITS = {"%": 0.01, "pp": 0.01}

_PREFIX_STEP = 1000  # milliseconds in a second, kilobytes in a megabyte
_CLOCK_STEP = 60  # seconds in a minute, minutes in an hour

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ%]*)\s*")


def _split(text: str, *, what: str, example: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(
            f"{what} is a number with a unit, got {text!r}; write for example {example}."
        )
    return float(match[1]), match[2].replace("µ", "u")


def _in_base(
    text: str, units: dict[str, float], *, what: str, example: str, readings: tuple[str, str]
) -> float:
    number, unit = _split(text, what=what, example=example)
    if not unit:
        first, second = (f"{text.strip()}{name}" for name in readings)
        raise UnitError(f"{what} needs a unit, got {text!r}; did you mean {first} or {second}?")
    if unit not in units:
        known = ", ".join(units)
        raise UnitError(f"{what} has no unit {unit!r} (in {text!r}); use one of {known}.")
    value = number * units[unit]
    if not math.isfinite(value) or value <= 0:
        raise UnitError(f"{what} must be greater than zero and finite, got {text!r}.")
    return value


def parse_duration(text: str, *, what: str = "A duration") -> float:
    """Return seconds; ``text`` is greater than zero with one of ``DURATION_UNITS``.

    >>> parse_duration("50ms")
    0.05

    Raises:
        UnitError: no unit, an unknown unit, or not greater than zero.
    """
    return _in_base(text, DURATION_UNITS, what=what, example="50ms", readings=("ms", "s"))


def parse_size(text: str, *, what: str = "A size") -> float:
    """Return bytes; ``GB`` is 10**9, ``GiB`` is 2**30.

    >>> parse_size("4GiB")
    4294967296.0

    Raises:
        UnitError: no unit, an unknown unit, or not greater than zero.
    """
    return _in_base(text, SIZE_UNITS, what=what, example="4GB", readings=("MB", "GiB"))


def parse_energy(text: str, *, what: str = "An energy") -> float:
    """Return joules; ``text`` is greater than zero with one of ``ENERGY_UNITS``.

    >>> parse_energy("0.1mWh")
    0.36000000000000004

    Raises:
        UnitError: no unit, an unknown unit, or not greater than zero.
    """
    return _in_base(text, ENERGY_UNITS, what=what, example="0.5J", readings=("mJ", "J"))


def parse_fraction(text: str, *, what: str = "A share") -> float:
    """Return a fraction in (0, 1]: ``0.9``, ``90%``; ``1pp`` is 0.01.

    Fractions are the one quantity that may be bare, and only below or at 1:
    ``0.9`` has one reading, ``90`` has two.

    >>> parse_fraction("90%")
    0.9

    Raises:
        UnitError: an unknown unit, not in (0, 1], or a bare number above 1.
    """
    number, unit = _split(text, what=what, example="0.9 or 90%")
    if unit and unit not in FRACTION_UNITS:
        raise UnitError(f"{what} has no unit {unit!r} (in {text!r}); use a fraction, % or pp.")
    if not unit and number > 1:
        raise UnitError(f"{what} is a fraction, got {text!r}; did you mean {text.strip()}%?")
    # Rounded to 12 places so that 90% and 0.9 are the same bound.
    value = round(number * FRACTION_UNITS.get(unit, 1.0), 12)
    if not 0 < value <= 1:
        raise UnitError(f"{what} must be greater than 0 and at most 1 (100%), got {text!r}.")
    return value


def format_duration(seconds: float) -> str:
    """Return ``seconds`` in the unit a person would choose: ``48.2 ms``, ``3 min 20 s``.

    Rounded before the unit is chosen: 59.97 s is a minute, not ``60.0 s``.

    >>> format_duration(59.97)
    '1 min 00 s'
    """
    if (micros := round(seconds * 1e6)) < _PREFIX_STEP:
        return f"{micros} µs"
    if round(seconds * 1e3) < _PREFIX_STEP:
        return f"{seconds * 1e3:.3g} ms"
    if (tenths := round(seconds, 1)) < _CLOCK_STEP:
        return f"{tenths:.1f} s"
    minutes, whole = divmod(round(seconds), _CLOCK_STEP)
    if minutes < _CLOCK_STEP:
        return f"{minutes} min {whole:02d} s"
    return f"{minutes // _CLOCK_STEP} h {minutes % _CLOCK_STEP:02d} min"


def format_size(n_bytes: float) -> str:
    """Return ``n_bytes`` with three digits and an SI prefix: ``102 MB``.

    >>> format_size(999.6e6)
    '1 GB'
    """
    if round(n_bytes) < _PREFIX_STEP:
        return f"{n_bytes:.0f} B"
    for unit in ("kB", "MB", "GB"):
        if round(n_bytes / SIZE_UNITS[unit]) < _PREFIX_STEP:
            return f"{n_bytes / SIZE_UNITS[unit]:.3g} {unit}"
    terabytes = n_bytes / SIZE_UNITS["TB"]
    return f"{terabytes:.3g} TB" if round(terabytes) < _PREFIX_STEP else f"{terabytes:.0f} TB"


def format_energy(joules: float) -> str:
    """Return ``joules`` with three digits and an SI prefix: ``0.12 J`` is ``120 mJ``.

    >>> format_energy(0.9996)
    '1 J'
    """
    if round(joules * 1e6) < _PREFIX_STEP:
        return f"{joules * 1e6:.3g} µJ"
    if round(joules * 1e3) < _PREFIX_STEP:
        return f"{joules * 1e3:.3g} mJ"
    if round(joules) < _PREFIX_STEP:
        return f"{joules:.3g} J"
    return f"{joules / 1e3:.3g} kJ" if round(joules / 1e3) < _PREFIX_STEP else f"{joules:.0f} J"


def format_fraction(value: float) -> str:
    """Return a fraction with three decimals, the resolution of a few hundred rows."""
    return f"{value:.3f}"


def format_quantity(value: float, unit: str) -> str:
    """Return ``value`` given in base unit ``unit`` (``s``, ``B``, ``J``, ``1``, ``nat``)."""
    if unit == "s":
        return format_duration(value)
    if unit == "B":
        return format_size(value)
    if unit == "J":
        return format_energy(value)
    return format_fraction(value)
