"""Which model each report's machine gets, and what is said where none fits."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.config import Bounds
from autotune.constraint import Constraint, Verdict, parse_constraint
from autotune.errors import UnitError, UsageError
from autotune.pick import run_pick
from autotune.plain import to_plain
from autotune.reports import (
    Evidence,
    MeasuredModel,
    Pick,
    Picking,
    build_report,
    check_measured,
    make_console,
    pick,
    picking_view,
)

from .evidence_cases import document, model, number
from .record import context, events

FAST = model("r8/int4", latency=0.040, accuracy=0.90, size=1e8)
EXACT = model("r16/fp32", latency=0.130, accuracy=0.96, size=5e8)
MIDDLE = model("r8/int8", latency=0.070, accuracy=0.94, size=2e8)


def _one(found: Picking) -> Pick:
    assert len(found.picks) == 1
    return found.picks[0]


def _pick(*models: MeasuredModel, bounds: tuple[str, ...] = ()) -> Pick:
    return _one(pick([document(*models)], [parse_constraint(text) for text in bounds]))


def _shown(found: Picking) -> str:
    stream = io.StringIO()
    make_console(stream).print(picking_view(found))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("bounds", "name"),
    [
        ((), "r16/fp32"),
        (("latency<=100ms",), "r8/int8"),
        (("latency<=50ms",), "r8/int4"),
        (("size<=150MB",), "r8/int4"),
        (("latency<=72ms",), "r8/int4"),  # r8/int8 spans the bound
        (("accuracy>=0.93", "size<=300MB"), "r8/int8"),
        (("latency<=10ms",), None),
        (("memory<=1GB",), None),  # nothing of the kind was measured
    ],
)
def test_the_most_accurate_model_within_the_bounds_is_taken(
    bounds: tuple[str, ...], name: str | None
) -> None:
    found = _pick(FAST, EXACT, MIDDLE, bounds=bounds).picked
    assert (found.name if found else None) == name


def test_of_models_within_a_point_the_cheaper_is_taken() -> None:
    cheap = model("cheap", latency=0.050, accuracy=0.955, size=1e8)
    found = _pick(EXACT, cheap)
    assert found.picked is not None
    assert found.picked.name == "cheap"
    assert "at most a point" in found.reason


def test_of_plain_text_the_least_perplexity_is_taken_or_an_equal_that_is_cheaper() -> None:
    """Single tokens guessed right answer nobody; within one per cent texts are equally expected."""

    def text(name: str, perplexity: float, latency: float, accuracy: float) -> MeasuredModel:
        plain = model(name, latency=latency, accuracy=accuracy, size=1e8)
        key, value = number("perplexity", perplexity, 0.02, split="validation")
        return replace(plain, numbers={**plain.numbers, key: value})

    best, equal = text("best", 20.0, 0.13, 0.40), text("equal", 20.1, 0.05, 0.39)
    worse = text("worse", 21.0, 0.02, 0.41)
    found = _pick(best, equal, worse)
    assert found.picked is not None
    assert found.picked.name == "equal"
    assert "cheaper than best, which is at most a per cent less perplexed" in found.reason
    assert "perplexity 20.100 [19.698, 20.502]" in found.reason
    found = _pick(best, worse)
    assert found.reason.startswith("the least perplexed")
    found = _pick(best, worse, bounds=("latency<=50ms",))
    assert (
        "best is better (perplexity 20.000 [19.600, 20.400]) but latency.p95 130 ms" in found.reason
    )


def test_where_latencies_meet_the_smaller_is_cheaper() -> None:
    small = model("small", latency=0.131, accuracy=0.955, size=1e8)
    assert (picked := _pick(EXACT, small).picked) is not None
    assert picked.name == "small"


def test_the_reason_names_what_the_bounds_cost() -> None:
    found = _pick(FAST, EXACT, MIDDLE, bounds=("latency<=100ms",))
    assert "2 of 3 models meet the bounds" in found.reason
    assert "r16/fp32 is better (accuracy 0.960) but latency.p95 130 ms" in found.reason
    assert "30 % over 100 ms" in found.reason


def test_without_accuracy_the_fastest_is_taken_and_it_says_so() -> None:
    found = _pick(model("b", latency=0.2, size=1e8), model("a", latency=0.1, size=1e9))
    assert found.picked is not None
    assert found.picked.name == "a"
    assert "no accuracy was measured" in found.reason


def test_an_uncertain_cost_is_not_feasible_but_is_the_nearest_miss() -> None:
    found = _pick(MIDDLE, EXACT, bounds=("latency<=72ms",))
    assert found.picked is None
    assert found.nearest_miss is not None
    assert found.nearest_miss.name == "r8/int8"
    assert found.nearest_miss.bounds[0].verdict is Verdict.UNCERTAIN


def test_quality_is_met_by_the_estimate_and_its_doubt_is_told() -> None:
    found = _pick(FAST, bounds=("accuracy>=0.89",))
    assert found.picked is not None
    assert found.picked.bounds[0].verdict is Verdict.UNCERTAIN
    assert "By its estimate only" in found.reason
    assert _pick(FAST, bounds=("accuracy>=0.91",)).picked is None


def test_bounds_are_judged_on_the_test_split_and_the_choice_is_not() -> None:
    numbers = dict(FAST.numbers) | dict([number("accuracy", 0.70, 0.01, split="test")])
    tested = MeasuredModel(key="chosen", name="tested", numbers=numbers)
    assert _pick(tested, bounds=("accuracy>=0.8",)).picked is None
    other = model("other", latency=0.04, accuracy=0.85, size=1e8)
    assert (picked := _pick(tested, other).picked) is not None
    assert picked.name == "tested"


def test_a_machine_without_a_model_names_the_nearest_miss_and_the_distance() -> None:
    found = pick([document(FAST, EXACT)], [parse_constraint("latency<=10ms")])
    text = _shown(found)
    assert "No model" in text
    assert "Nearest miss: r8/int4, latency.p95 40 ms" in text
    assert "300 % over 10 ms" in text


def test_unmeasured_bounds_leave_no_nearest_miss() -> None:
    found = _pick(FAST, bounds=("memory<=1GB",))
    assert (found.picked, found.nearest_miss) == (None, None)
    assert "memory <= 1 GB" in found.reason


def test_unlike_requests_and_models_are_noted() -> None:
    other = document(FAST, label="B", workload="e" * 64, model="n" * 40)
    notes = pick([document(FAST), other], [parse_constraint("latency<=1s")]).notes
    assert len(notes) == 2
    assert pick([document(FAST), document(FAST, label="B")], []).notes == ()


_MODELS = st.builds(
    model,
    st.text("abc", min_size=1, max_size=3),
    latency=st.floats(0.01, 1),
    accuracy=st.floats(0.1, 1),
    size=st.floats(1e6, 1e9),
)


@given(
    st.lists(_MODELS, min_size=1, max_size=6, unique_by=lambda one: one.name),
    st.floats(0.01, 1),
    st.randoms(use_true_random=False),
)
def test_the_pick_passes_every_bound_and_no_order_matters(
    models: list[MeasuredModel], bound: float, random: object
) -> None:
    constraint = Constraint(metric="latency.p95", op="<=", bound=bound)
    found = _one(pick([document(*models)], [constraint]))
    random.shuffle(models)  # type: ignore[attr-defined]  # of Random
    again = _one(pick([document(*models)], [constraint]))
    assert again.picked == found.picked
    assert again.nearest_miss == found.nearest_miss
    if found.picked is not None:
        assert found.picked.bounds[0].verdict is Verdict.PASS
    assert (found.picked is None) == (found.feasible == 0)


# The command, on files


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    report = build_report(context(), events())
    (tmp_path / "report.json").write_text(json.dumps(to_plain(report)), encoding="utf-8")
    return tmp_path


def test_the_command_answers_per_report(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = [run_dir, run_dir / "report.json"]
    bounds = Bounds(maxima={"latency.p95": "100ms"})
    assert run_pick(reports, bounds=bounds, as_json=False) == 0
    text = capsys.readouterr().out
    assert text.count("Take lora-r8") == 2
    # A path is never broken, so that it can be copied.
    assert max(len(line) for line in text.splitlines() if str(run_dir) not in line) <= 100
    strict = Bounds(maxima={"latency.p95": "1ms"})
    assert run_pick(reports, bounds=strict, as_json=True) == 1
    plain = json.loads(capsys.readouterr().out)
    assert plain["schema"] == "autotune.picking"
    assert [one["picked"] for one in plain["picks"]] == [None, None]
    assert all(one["nearest_miss"]["name"] for one in plain["picks"])


def test_a_bound_that_a_report_has_no_number_for_is_an_error_with_its_reason(
    run_dir: Path,
) -> None:
    bounds = Bounds(general=("energy<=0.5J",))
    with pytest.raises(UsageError, match=r"has no energy .it has .*latency.p95") as caught:
        run_pick([run_dir], bounds=bounds, as_json=False)
    assert "leave the bound out" in str(caught.value)
    silent = replace(FAST, unmeasured={"energy": "not measurable here: no counters"})
    with pytest.raises(UsageError, match=r"'a.json', which has no energy .not measurable here"):
        check_measured([document(EXACT, silent)], bounds.resolve())
    told = replace(FAST, numbers={**FAST.numbers, **dict([number("energy", 0.2)])})
    check_measured([document(EXACT, told)], bounds.resolve())
    # Metrics of answers stand under their split.
    check_measured([document(EXACT)], [parse_constraint("accuracy>=0.5")])


def test_a_bound_without_unit_is_refused_before_any_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnitError):
        run_pick([tmp_path / "none"], bounds=Bounds(maxima={"size": "100"}), as_json=False)


def test_a_document_stays_as_it_is() -> None:
    before: Evidence = document(FAST, EXACT)
    pick([before], [])
    assert before == document(FAST, EXACT)
