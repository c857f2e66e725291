"""Quantities: one reading each, and every refusal names the rule, the value and a way out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import UnitError
from autotune.units import (
    DURATION_UNITS,
    SIZE_UNITS,
    format_duration,
    format_energy,
    format_fraction,
    format_quantity,
    format_size,
    parse_duration,
    parse_energy,
    parse_fraction,
    parse_size,
)

positive = st.floats(min_value=1e-6, max_value=1e12, allow_subnormal=False)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("50ms", 0.05),
        ("1.5s", 1.5),
        (" 12m ", 720.0),
        ("12 min", 720.0),
        ("1h", 3600.0),
        ("300us", 3e-4),
        ("300µs", 3e-4),
        ("1e3ms", 1.0),
        (".5s", 0.5),
        ("+2s", 2.0),
    ],
)
def test_durations_are_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("100MB", 1e8), ("4GB", 4e9), ("4GiB", 2**32), ("1.5 kB", 1500), ("1KiB", 1024), ("7B", 7)],
)
def test_sizes_are_read_as_bytes_and_the_two_prefixes_differ(text: str, n_bytes: float) -> None:
    assert parse_size(text) == n_bytes


@pytest.mark.parametrize(
    ("text", "joules", "shown"),
    [
        ("0.5J", 0.5, "500 mJ"),
        ("120 mJ", 0.12, "120 mJ"),
        ("7uJ", 7e-6, "7 µJ"),
        ("1mWh", 3.6, "3.6 J"),
        ("2.5Wh", 9000.0, "9 kJ"),
        ("999.6mJ", 0.9996, "1 J"),
    ],
)
def test_energies_are_read_as_joules_and_shown_with_a_prefix(
    text: str, joules: float, shown: str
) -> None:
    assert parse_energy(text) == pytest.approx(joules)
    assert format_energy(joules) == format_quantity(joules, "J") == shown


@pytest.mark.parametrize(
    ("text", "share"), [("0.9", 0.9), ("90%", 0.9), ("1", 1.0), ("1pp", 0.01), ("2.5 %", 0.025)]
)
def test_shares_are_the_one_quantity_that_may_be_bare(text: str, share: float) -> None:
    assert parse_fraction(text) == share


@pytest.mark.parametrize(
    ("parse", "text", "rule", "way_out"),
    [
        (parse_duration, "100", "needs a unit", "100ms or 100s"),
        (parse_duration, "0ms", "greater than zero", "'0ms'"),
        (parse_duration, "-5ms", "greater than zero", "'-5ms'"),
        (parse_duration, "1e999s", "finite", "'1e999s'"),
        (parse_duration, "5 parsecs", "no unit 'parsecs'", "use one of us, ms, s, m, min, h"),
        (parse_duration, "5MS", "no unit 'MS'", "ms"),
        (parse_duration, "fast", "a number with a unit", "for example 50ms"),
        (parse_duration, "", "a number with a unit", "write"),
        (parse_duration, "nan s", "a number with a unit", "write"),
        (parse_size, "4", "needs a unit", "4MB or 4GiB"),
        (parse_size, "big", "a number with a unit", "for example 4GB"),
        (parse_size, "4gb", "no unit 'gb'", "GB"),
        (parse_size, "0GB", "greater than zero", "'0GB'"),
        (parse_energy, "2", "needs a unit", "2mJ or 2J"),
        (parse_energy, "2MJ", "no unit 'MJ'", "use one of uJ, mJ, J, kJ, mWh, Wh, kWh"),
        (parse_energy, "0J", "greater than zero", "'0J'"),
        (parse_fraction, "90", "is a fraction", "90%"),
        (parse_fraction, "0", "greater than 0", "100%"),
        (parse_fraction, "-1%", "greater than 0", "100%"),
        (parse_fraction, "101%", "at most 1", "100%"),
        (parse_fraction, "0.9s", "no unit 's'", "use a fraction, % or pp"),
        (parse_fraction, "most", "a number", "0.9 or 90%"),
    ],
)
def test_refusals_name_the_rule_the_value_and_a_way_out(
    parse: Callable[..., float], text: str, rule: str, way_out: str
) -> None:
    with pytest.raises(UnitError) as caught:
        parse(text, what="--bound")
    message = str(caught.value)
    assert message.startswith("--bound ")
    assert repr(text) in message
    assert rule in message
    assert way_out in message
    assert message.endswith((".", "?"))
    assert "\n" not in message


def test_the_example_of_a_refusal_can_be_typed() -> None:
    with pytest.raises(UnitError) as caught:
        parse_duration("fast")
    example = re.search(r"for example (\S+?)\.$", str(caught.value))
    assert example is not None
    assert parse_duration(example[1]) > 0


@given(positive, st.sampled_from(sorted(DURATION_UNITS)))
def test_a_duration_is_its_number_times_its_unit(number: float, unit: str) -> None:
    seconds = number * DURATION_UNITS[unit]
    assert parse_duration(f"{number!r}{unit}") == seconds
    assert parse_duration(f"{number!r} {unit}") == seconds


@given(positive, st.sampled_from(sorted(SIZE_UNITS)))
def test_a_size_is_its_number_times_its_unit(number: float, unit: str) -> None:
    assert parse_size(f"{number!r}{unit}") == number * SIZE_UNITS[unit]


@given(st.floats(min_value=1e-6, max_value=1))
def test_a_share_and_its_percentage_are_the_same_bound(share: float) -> None:
    assert parse_fraction(f"{share * 100!r}%") == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (25e-6, "25 µs"),
        (0.0482, "48.2 ms"),
        (0.1, "100 ms"),
        (0.1234, "123 ms"),
        (1.0, "1.0 s"),
        (0.99999, "1.0 s"),
        (9.996e-4, "1 ms"),
        (59.9, "59.9 s"),
        (59.97, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (200.0, "3 min 20 s"),
        (3600.0, "1 h 00 min"),
        (45_296.0, "12 h 34 min"),
    ],
)
def test_durations_are_shown_in_the_unit_a_person_would_choose(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1e3, "1 kB"),
        (101.6e6, "102 MB"),
        (999.6e6, "1 GB"),
        (1e12, "1 TB"),
        (12.34e12, "12.3 TB"),
        (1.2345e15, "1234 TB"),
    ],
)
def test_sizes_are_shown_with_three_digits(n_bytes: float, text: str) -> None:
    assert format_size(n_bytes) == text


@given(st.floats(min_value=1, max_value=5e12))
def test_a_shown_size_is_within_a_percent_and_in_plain_digits(n_bytes: float) -> None:
    shown = format_size(n_bytes)
    assert re.fullmatch(r"\d+(\.\d+)? [kMGT]?B", shown)
    # A byte count is rounded to a whole byte.
    assert math.isclose(parse_size(shown), n_bytes, rel_tol=0.01, abs_tol=0.5)


@given(st.floats(min_value=1e-6, max_value=86_400))
def test_a_shown_duration_never_leaves_the_range_of_its_unit(seconds: float) -> None:
    shown = format_duration(seconds)
    assert not re.match(r"1000 |60(\.0)? s|60 min", shown), shown


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.05, "s", "50 ms"), (2e6, "B", "2 MB"), (0.91489, "1", "0.915"), (1.5, "nat", "1.500")],
)
def test_a_quantity_is_shown_by_its_base_unit(value: float, unit: str, text: str) -> None:
    assert format_quantity(value, unit) == text


def test_a_share_has_three_decimals() -> None:
    assert format_fraction(0.5) == "0.500"
