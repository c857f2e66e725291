"""Flags to a run's configuration: defaults, contradictions, and the run folder."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from autotune import demo
from autotune.config import (
    DEMO_BUDGET_S,
    OWN_DATA_BUDGET_S,
    SAMPLERS,
    Bounds,
    RunConfig,
    default_output,
    prepare_output,
    resolve_config,
)
from autotune.errors import OutputError, UnitError, UsageError
from autotune.list_flags import read_trainings
from autotune.search import SamplerName
from autotune.task_flags import TaskFlags
from autotune.trainings import Trainings

NO_FLAGS: dict[str, Any] = {
    "target": "auto",
    "model": None,
    "data": None,
    "template": None,
    "kind": None,
    "validation_data": None,
    "test_data": None,
    "bounds": Bounds(),
    "budget": None,
    "trials": None,
    "sampler": "tpe",
    "seed": 0,
    "trust_remote_code": False,
}
OWN_DATA = {"data": "rows.csv", "template": "{text}\n{label}"}


def resolve(**flags: Any) -> RunConfig:
    """Return the configuration of ``flags``, the others not given."""
    return resolve_config(**{**NO_FLAGS, **flags})


def test_no_flags_at_all_ask_for_the_demo() -> None:
    config = resolve()
    assert config.is_demo
    assert (config.model, config.template) == (demo.MODEL, demo.TEMPLATE)
    assert config.data_path == str(demo.data_path())
    assert Path(config.data_path).is_file()
    assert config.budget_s == DEMO_BUDGET_S == 12 * 60


@pytest.mark.parametrize(
    ("flags", "budget_s", "max_trials"),
    [
        ({}, DEMO_BUDGET_S, None),
        (OWN_DATA, OWN_DATA_BUDGET_S, None),
        ({**OWN_DATA, "budget": "90m"}, 5400.0, None),
        ({"trials": 3}, None, 3),
        ({"trials": 3, "budget": "20m"}, 1200.0, 3),
    ],
)
def test_a_run_without_limits_gets_the_default_budget(
    flags: dict[str, Any], budget_s: float | None, max_trials: int | None
) -> None:
    config = resolve(**flags)
    assert (config.budget_s, config.max_trials) == (budget_s, max_trials)


@pytest.mark.parametrize(
    ("flags", "rule", "way_out"),
    [
        ({"data": "rows.csv"}, "'rows.csv' needs --template", "for example --template"),
        ({"template": "{a}{b}"}, "need --data", "add it"),
        ({"test_data": "test.csv"}, "need --data", "add it"),
        ({"validation_data": "v.csv"}, "need --data", "add it"),
        ({"kind": "regression"}, "'regression'", "classification, generation, choice, perplexity"),
        ({"sampler": "cmaes"}, "'cmaes'", "tpe, nsgaii, gp, random, grid"),
        ({"budget": "12"}, "--budget needs a unit, got '12'", "12ms or 12s"),
        ({"budget": "-1m"}, "--budget must be greater than zero", "'-1m'"),
    ],
)
def test_flags_that_cannot_work_are_refused(flags: dict[str, Any], rule: str, way_out: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(**flags)
    message = str(caught.value)
    assert rule in message
    assert way_out in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "flags",
    [
        {"data": "", "template": None},
        {"model": ""},
        {"budget": ""},
        {"bounds": Bounds(maxima={"latency.p95": ""})},
        {"bounds": Bounds(min_accuracy="")},
    ],
    ids=lambda flags: next(iter(flags)),
)
def test_an_empty_value_is_not_the_same_as_no_flag(flags: dict[str, Any]) -> None:
    # --max-latency "$LIMIT" with LIMIT unset must not tune without a bound.
    with pytest.raises(UsageError):
        resolve(**flags)


def test_bounds_are_read_with_the_units_of_their_flags() -> None:
    maxima = {"latency.p95": "100ms", "memory": "4GiB", "size": "100MB", "ttft.p95": None}
    bounds = Bounds(maxima=maxima, min_accuracy="90%", general=("tpot<=50ms",))
    found = {(c.metric, c.op): c.bound for c in bounds.resolve()}
    assert found == {
        ("latency.p95", "<="): 0.1,
        ("memory", "<="): 2.0**32,
        ("size", "<="): 1e8,
        ("accuracy", ">="): 0.9,
        ("tpot.p95", "<="): 0.05,
    }


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(maxima={"latency.p95": "100"}), ("--max-latency", "100ms or 100s")),
        (Bounds(maxima={"memory": "0GB"}), ("--max-memory", "greater than zero", "'0GB'")),
        (Bounds(maxima={"size": "-1MB"}), ("--max-size", "greater than zero", "'-1MB'")),
        (Bounds(min_accuracy="90"), ("--min-accuracy", "90%")),
        (Bounds(general=("latency<=9",)), ("latency.p95", "9ms or 9s")),
    ],
)
def test_a_bound_that_cannot_be_read_names_its_flag(bounds: Bounds, words: tuple[str, ...]) -> None:
    with pytest.raises(UnitError) as caught:
        bounds.resolve()
    assert all(word in str(caught.value) for word in words)


def test_one_metric_is_bounded_once_in_a_direction() -> None:
    twice = Bounds(maxima={"latency.p95": "100ms"}, general=("latency<=50ms",))
    with pytest.raises(UsageError, match=r"latency\.p95 is bounded twice with <=; leave one"):
        twice.resolve()
    between = Bounds(maxima={"latency.p95": "100ms"}, general=("latency.p50<=50ms",))
    assert len(between.resolve()) == 2


def test_the_list_of_samplers_is_that_of_the_search() -> None:
    assert tuple(SamplerName) == SAMPLERS


def test_ways_of_training_are_read_and_kept(tmp_path: Path) -> None:
    assert resolve().trainings == Trainings()
    asked = read_trainings(methods="qlora,lora", merge_bases="full, dequantized")
    assert asked == Trainings(methods=("qlora", "lora"), merge_bases=("full", "dequantized"))
    config = resolve(trainings=asked)
    config.save(tmp_path / "run.json")
    assert RunConfig.load(tmp_path / "run.json").trainings == asked
    with pytest.raises(UsageError, match="--methods has no 'dora'"):
        read_trainings(methods="dora")
    with pytest.raises(UsageError, match="--schedule is one of cosine, linear, constant"):
        read_trainings(schedule="linear,cosine")
    options = read_trainings(target_modules="mlp,q_proj+v_proj", clip_norm=0.0, steps=90)
    assert options.target_modules == ("mlp", "q_proj+v_proj")
    assert (options.clip_norm, options.steps, options.epochs) == (None, 90, None)


def test_every_flag_reaches_the_configuration() -> None:
    fields = set(inspect.signature(RunConfig).parameters)
    renamed = {"budget": "budget_s", "trials": "max_trials", "bounds": "constraints"}
    flags = {renamed.get(name, name) for name in inspect.signature(resolve_config).parameters}
    flags = flags - {"task"} | set(inspect.signature(TaskFlags).parameters)
    of_files = {"chain", "corpus", "held_out"}
    assert fields - flags == {"is_demo", *of_files}
    assert flags <= fields


def test_a_run_starts_from_its_file_alone(tmp_path: Path) -> None:
    bounds = Bounds(maxima={"latency.p95": "100ms"}, min_accuracy="0.9")
    config = resolve(**OWN_DATA, bounds=bounds, seed=7, kind="generation")
    config.save(tmp_path / "run.json")
    assert RunConfig.load(tmp_path / "run.json") == config


def test_a_run_finds_its_files_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"data": "rows.csv", "validation_data": "dev.csv", "test_data": "test.csv"}
    for name in names.values():
        (tmp_path / name).write_text("text,label\n", encoding="utf-8")
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    config = resolve(**{**OWN_DATA, **names, "model": "./model"})
    config.save(tmp_path / "run.json")
    monkeypatch.chdir(tmp_path.parent)
    resumed = RunConfig.load(tmp_path / "run.json")
    places = [resumed.data_path, resumed.validation_data, resumed.test_data, resumed.model]
    assert [place for place in places if not Path(str(place)).exists()] == []


def test_names_on_a_hub_stay_as_they_are() -> None:
    config = resolve(data="someone/tones", template="{a}{b}", model="someone/model")
    assert (config.data, config.model) == ("someone/tones", "someone/model")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (None, "is no run folder: it has no run.json"),
        ("{", "is damaged"),
        ('{"seed": "seven"}', "is damaged"),
        ("[]", "is damaged"),
    ],
)
def test_what_is_no_run_folder_is_refused(content: str | None, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=rule):
        RunConfig.load(path)


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="is no run folder"):
        RunConfig.load(tmp_path / "model.onnx" / "run.json")


def test_default_folders_are_named_by_time_and_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = default_output("cpu,cuda@/opt/python", now=0)
    assert first.parent == Path("results")
    assert first.name.endswith("-cpu+cuda__opt_python")
    first.mkdir(parents=True)
    assert default_output("cpu,cuda@/opt/python", now=0).name == f"{first.name}-2"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    run = tmp_path / "run"
    prepare_output(run)
    assert (run / "logs").is_dir()
    (run / "report.json").write_text(json.dumps({"kept": True}), encoding="utf-8")
    with pytest.raises(OutputError, match=r"exists already.*autotune resume"):
        prepare_output(run)
    assert json.loads((run / "report.json").read_text("utf-8")) == {"kept": True}


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match=r"cannot be written \(.+\); choose another folder"):
        prepare_output(tmp_path / "file" / "run")
