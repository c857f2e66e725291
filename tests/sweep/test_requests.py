"""Sweeps that cannot be meant: refused in one line, with everything left as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from autotune.passes import ArtifactStore
from autotune.plain import digest

from .conftest import RATE, Autotune, Swept, flags

CHANGES = [
    ({"data": "other.csv"}, "data was "),
    ({"learning_rates": RATE}, "learning rates was '0.005, 1e+30' and is '0.005' now"),
    ({"rounds": "3"}, "rounds was '2' and is '3' now"),
    ({"recipes": "cpu-fp32"}, "recipes was 'cpu-fp32, cpu-int4-b32' and is 'cpu-fp32' now"),
    ({"seed": "1"}, "was"),
]


@pytest.mark.parametrize(("changes", "words"), CHANGES, ids=lambda x: str(x)[:20])
@pytest.mark.slow
def test_a_table_of_another_sweep_is_refused_with_the_differing_fact(
    swept: Swept,
    at_home: Path,
    changes: dict[str, str],
    words: str,
    autotune: Autotune,
) -> None:
    rows = (at_home / "rows.csv").read_text(encoding="utf-8")
    (at_home / "other.csv").write_text(rows.replace("day 7,", "week 7,"), encoding="utf-8")
    code, out, err = autotune(flags(**changes))
    last = err.splitlines()[-1]
    assert (code, out) == (2, "")
    assert last.startswith("autotune: usage: 'table.csv' is of another sweep: ")
    assert words in last
    assert "choose another --output" in last
    assert (at_home / "table.csv").read_text(encoding="utf-8") == swept.after[1]


def test_a_plan_is_printed_and_nothing_left_behind(at_home: Path, autotune: Autotune) -> None:
    before = {path.name for path in at_home.iterdir()}
    quantiser = "int4-b32-rtn-mixed-asym-head8"  # of a recipe that nobody proposes
    changes = {
        "recipes": f"cpu-fp32,cpu-{quantiser}",
        "methods": "lora,qat-lora",
        "quantisers": quantiser,
    }
    code, out, _ = autotune([*flags(output="planned.csv", ranks="4,8", **changes), "--dry-run"])
    assert code == 0
    for part in ("census of 2 recipes", "4 trainings, lora, 3 epochs, 3 rungs", "16 models"):
        assert part in out
    assert "4 trainings, qat-lora, 3 epochs, 3 rungs" in out
    assert "42 rows, 0 of them in the table" in " ".join(out.split())
    assert {path.name for path in at_home.iterdir()} == before


def test_a_report_without_a_table_binds_nobody(at_home: Path, autotune: Autotune) -> None:
    shutil.copyfile(at_home / "table.json", at_home / "alone.json")
    code, out, _ = autotune([*flags(output="alone.csv", rounds="3"), "--dry-run"])
    assert (code, "0 of them in the table" in " ".join(out.split())) == (0, True)


def test_a_file_of_something_else_is_not_taken_for_a_report(
    at_home: Path, autotune: Autotune
) -> None:
    (at_home / "mine.json").write_text('{"schema": "mine"}', encoding="utf-8")
    (at_home / "mine.logs").mkdir()
    (at_home / "mine.logs" / "diary").touch()
    code, _, err = autotune(flags(output="mine.csv"))
    assert code == 2
    assert "'mine.json' has the schema 'mine', expected 'autotune.sweep'" in err
    assert (at_home / "mine.logs" / "diary").exists()


def test_a_second_sweep_of_one_table_is_refused_at_once(at_home: Path, autotune: Autotune) -> None:
    with ArtifactStore().lock(digest({"sweep": str(at_home / "table.csv")})):
        code, _, err = autotune(flags())
    assert code == 2
    assert "Another sweep is writing 'table.csv'" in err


REQUESTS = [
    ({"output": "table.parquet"}, "a file NAME.csv, got 'table.parquet'"),
    ({"output": "no/table.csv"}, "'no' does not; make it"),
    ({"output": "rows.csv"}, "'rows.json', which would say what sweep it is of, does not"),
    ({"recipes": "cpu-int4-b23", "output": "new.csv"}, "did you mean 'cpu-int4-b32'"),
    ({"recipes": "cpu-fp16", "output": "new.csv"}, "'cpu-fp16' is not built: "),
    ({"recipes": ",", "output": "new.csv"}, "--recipes is a list of values"),
    ({"learning_rates": "0", "output": "new.csv"}, "greater than zero, got '0'"),
    (
        {"methods": "qat-lora", "quantisers": "int4-b32-k_quant", "output": "new.csv"},
        "--quantisers has 'int4-b32-k_quant', whose rounding of this model training does not",
    ),
]


@pytest.mark.parametrize(("changes", "words"), REQUESTS, ids=lambda x: str(x)[:30])
def test_a_request_that_cannot_work_ends_with_code_2_and_leaves_nothing(
    at_home: Path,
    changes: dict[str, str],
    words: str,
    autotune: Autotune,
) -> None:
    before = {path.name for path in at_home.iterdir()}
    code, out, err = autotune(flags(**changes))
    last = err.splitlines()[-1]
    assert (code, out) == (2, "")
    assert last.startswith("autotune: usage: ")
    assert words in last
    assert {path.name for path in at_home.iterdir()} == before


@pytest.mark.slow
def test_a_table_whose_rows_are_damaged_is_refused(
    swept: Swept,
    at_home: Path,
    autotune: Autotune,
) -> None:
    (at_home / "cut.csv").write_text(swept.after[1] + "a,b\n", encoding="utf-8")
    shutil.copyfile(at_home / "table.json", at_home / "cut.json")
    code, _, err = autotune(flags(output="cut.csv"))
    assert code == 2
    assert "Line 16 of 'cut.csv'" in err
