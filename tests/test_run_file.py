"""A whole run in a file: read back as it was written, in TOML as in JSON, typos told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from autotune import run_file
from autotune.candidate import AdapterConfig, Precision
from autotune.chain import BuildChoice, Chain, FixedTraining
from autotune.config import RunConfig
from autotune.configured import run_configuration
from autotune.constraint import parse_constraint
from autotune.errors import UsageError
from autotune.olive import OliveRequest
from autotune.run_file import load_run_file, run_text
from autotune.settings import read_settings
from autotune.trainings import Trainings

_RUNS = {
    "the demo": RunConfig(),
    "a search": RunConfig(
        data="rows.jsonl",
        template="{a}\n{b}",
        options=("a", "b"),
        constraints=(parse_constraint("latency<=50ms"), parse_constraint("size<=1GB")),
        budget_s=None,
        max_trials=3,
        trainings=Trainings(methods=("lora", "qat-lora"), quantisers=("int4-b32",), clip_norm=None),
        layers=(2,),
        extract="none",
        is_demo=False,
    ),
    "a chain": RunConfig(
        chain=Chain(
            training=FixedTraining(adapter=AdapterConfig(steps=3, clip_norm=None)),
            merges=True,
            build=BuildChoice(precision=Precision.INT4),
        )
    ),
    "no layer left out": RunConfig(layers=()),
}


def _may_be_none(kind: Any) -> Iterator[str]:
    """Yield the fields in and below ``kind`` that may be none and are not by default."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        for one in fields(kind):
            is_optional = type(None) in get_args(hints[one.name])
            yield from [one.name] * (is_optional and one.default is not None)
            yield from _may_be_none(hints[one.name])
    for part in get_args(kind):
        yield from _may_be_none(part)


def test_toml_has_a_word_for_every_value_that_is_none_by_choice() -> None:
    assert set(_may_be_none(RunConfig)) == set(run_file._SPOKEN)


@pytest.mark.parametrize("suffix", [".toml", ".json"])
@pytest.mark.parametrize("name", _RUNS)
def test_a_run_survives_its_file(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"run{suffix}"
    path.write_text(run_text(_RUNS[name], suffix=suffix), encoding="utf-8")
    assert load_run_file(path) == _RUNS[name]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("target = 'cpu'\n", "no whole run: it has no table 'trainings'"),
        ("target = \n", "no TOML file"),
        ("sede = 1\n[trainings]\n", "a key 'sede', which no run has"),
        ("[trainings]\nmethod = ['lora']\n", "a key 'trainings.method', which no run has"),
        ("seed = 'one'\n[trainings]\n", "no whole run (seed: "),
    ],
)
def test_what_does_not_fit_is_told(text: str, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as told:
        load_run_file(path)
    assert rule in str(told.value)


def test_flags_of_olives_configurations_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(run_text(RunConfig(), suffix=".toml"), encoding="utf-8")
    request = OliveRequest(path=path)
    for asked in (replace(request, sets=("seed=1",)), replace(request, is_search=True)):
        with pytest.raises(UsageError, match="change the value in the file"):
            run_configuration(asked, output=tmp_path / "out", dry_run=True, as_json=False)


def test_a_whole_run_is_not_taken_for_settings(tmp_path: Path) -> None:
    path = tmp_path / "autotune.toml"
    path.write_text(run_text(RunConfig(), suffix=".toml"), encoding="utf-8")
    problem = read_settings(tmp_path, {}).problem
    assert "start it with `autotune run autotune.toml`" in str(problem)
