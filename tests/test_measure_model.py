"""Measuring a real model folder: what is timed, what is recorded, what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autotune.compare import run_compare
from autotune.errors import (
    HardwareError,
    ModelSourceError,
    OutputError,
    StoreError,
    UsageError,
)
from autotune.evaluators import measure_size
from autotune.measure_model import MeasureRequest, measure_folder, run_measure
from autotune.measured_folder import open_folder
from autotune.measured_requests import Lengths, requests_of_lengths, requests_on_data
from autotune.progress import Progress
from autotune.reports import DecisionRule, build_report, load_measure_report, write_model_folder
from autotune.targets import LocalExecutor
from autotune.task import Encoder, Template, decision_plan

from .reports.record import context, events

_SHORT = MeasureRequest(prompt_tokens=12, new_tokens=3)
_LABELS = ("joy", "fear", "sadness")
_TEMPLATE = r"### Text: {phrase}\n### Tone:\n{tone}"


@pytest.fixture
def folder(tiny_built_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage, with the sums of its files."""
    path = tmp_path / "tiny-model"
    shutil.copytree(tiny_built_dir, path)
    sums = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(path.iterdir())
    ]
    (path / "SHA256SUMS").write_text("".join(sums))
    return path


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor() as one:
        yield one


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "tones.jsonl"
    rows = [{"phrase": f"news of day {i}", "tone": _LABELS[i % 3]} for i in range(90)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def ours(tiny_model_dir: Path, tiny_built_dir: Path, tmp_path: Path) -> Path:
    """A deploy folder as a run leaves it, for the classification in ``data``."""
    encoder, template = Encoder.load(tiny_model_dir), Template.parse(_TEMPLATE)
    ids = tuple(encoder.ended(encoder.encode_alone(template.lead + text)) for text in _LABELS)
    rule = DecisionRule(
        kind="classification",
        template=template.text,
        literals=template.literals,
        fields=template.fields,
        labels=_LABELS,
        label_ids=ids,
        nodes=decision_plan(ids).nodes,
        eos_ids=encoder.eos_ids,
    )
    write_model_folder(
        tmp_path / "model",
        built_dir=tiny_built_dir,
        adapter_dir=None,
        rule=rule,
        report=build_report(context(), events()),
    )
    return tmp_path / "model"


def test_a_foreign_folder_is_measured_and_its_record_can_be_compared(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "a.json"
    assert run_measure(folder, _SHORT, output=record, as_json=False) == 0
    text = capsys.readouterr().out
    assert "tiny-model, 5 files agree with SHA256SUMS" in text
    assert "12 tokens of random words, seed 0, and 3 generated" in text
    report = load_measure_report(record)
    timed = {f"{m}.{q}" for m in ("latency", "ttft", "tpot") for q in ("p50", "p90", "p95")}
    assert set(report.metrics) == timed | {"load", "memory", "size"}
    assert report.metrics["latency.p95"].n == 64
    assert [len(block) for block in report.samples["latency"]] == [16] * 4
    assert report.model.base_model is None
    assert report.grade in ("B", "C")
    assert set(report.conditions) == {"before", "after", "during"}
    assert run_compare([record, record], as_json=False) == 0
    assert "Time per output token p95" in capsys.readouterr().out
    with pytest.raises(OutputError, match="exists already"):
        run_measure(folder, _SHORT, output=record, as_json=False)


def test_a_model_of_ours_is_timed_with_its_own_rule_on_given_prompts(
    ours: Path, tiny_built_dir: Path, data: Path, executor: LocalExecutor
) -> None:
    request = MeasureRequest(data=str(data), rounds=1, seed=3)
    report = measure_folder(ours, request, executor=executor, progress=Progress(quiet=True))
    assert report.workload.kind == "classification"
    assert report.workload.as_in_run is False
    assert report.model.name.startswith("lora-r8")
    assert report.model.base_model is not None
    assert report.model.checked_files > 5
    # The size is that of the built model, whatever a deploy folder adds to it.
    assert report.metrics["size"].value == measure_size(tiny_built_dir).value
    # 16 requests are too few for any percentile above the median.
    assert {"latency.p50", "ttft.p50", "load", "memory", "size"} == set(report.metrics)
    assert report.versions["onnxruntime-genai"]


def test_a_flipped_byte_in_the_weights_is_caught_before_anything_runs(folder: Path) -> None:
    weights = folder / "model.onnx.data"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(StoreError, match=r"'model.onnx.data' was .* Nothing was run") as caught:
        run_measure(folder, _SHORT, output=None, as_json=False)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(StoreError, match=f"'{name}'.*is not there"):
        open_folder(folder)


def _no_config(folder: Path) -> None:
    (folder / "genai_config.json").unlink()


def _odd_sums(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text("rubbish\n")


def _sum_outside(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  ../secret\n")


def _broken_config(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    (folder / "genai_config.json").write_text("{")


def _broken_description(folder: Path) -> None:
    (folder / "autotune.json").write_text("{}")


@pytest.mark.parametrize(
    ("harm", "error", "words"),
    [
        (_no_config, ModelSourceError, "genai_config.json"),
        (_odd_sums, StoreError, "rubbish"),
        (_sum_outside, StoreError, "is not there"),
        (_broken_config, ModelSourceError, "no JSON"),
        (_broken_description, UsageError, "schema None"),
    ],
)
def test_a_folder_that_is_not_what_it_should_be_is_refused(
    folder: Path, harm: Callable[[Path], None], error: type[Exception], words: str
) -> None:
    harm(folder)
    with pytest.raises(error, match=words):
        open_folder(folder)


def test_native_code_in_a_model_is_refused(folder: Path, executor: LocalExecutor) -> None:
    (folder / "SHA256SUMS").unlink()
    path = folder / "genai_config.json"
    config = json.loads(path.read_text())
    config["model"]["decoder"]["session_options"]["custom_ops_library"] = "/tmp/evil.so"  # noqa: S108 - never opened
    path.write_text(json.dumps(config))
    with pytest.raises(ModelSourceError, match="custom_ops_library"):
        measure_folder(folder, _SHORT, executor=executor, progress=Progress(quiet=True))


@pytest.mark.parametrize(
    ("target", "error"),
    [("cuda", HardwareError), ("abacus", UsageError), ("cpu,cpu@/x", UsageError)],
)
def test_an_unusable_target_is_refused(
    tiny_built_dir: Path, target: str, error: type[Exception], executor: LocalExecutor
) -> None:
    request = MeasureRequest(target=target, prompt_tokens=4, new_tokens=1)
    with pytest.raises(error):
        measure_folder(tiny_built_dir, request, executor=executor, progress=Progress(quiet=True))


def test_stated_lengths_are_kept_and_decided_by_the_seed(tiny_built_dir: Path) -> None:
    opened = open_folder(tiny_built_dir)
    lengths = Lengths(prompt=40, new=7)
    workload = requests_of_lengths(opened, lengths, seed=1)
    assert {len(row.prompt_ids) for row in workload.rows.rows} == {40}
    assert {len(row.answer_ids) for row in workload.rows.rows} == {7}
    assert len({row.prompt for row in workload.rows.rows}) == 64
    assert requests_of_lengths(opened, lengths, seed=1).digest == workload.digest
    assert requests_of_lengths(opened, lengths, seed=2).digest != workload.digest


def test_lengths_beyond_the_context_are_refused(tiny_built_dir: Path) -> None:
    with pytest.raises(UsageError, match="context of 512 tokens, asked for 500 \\+ 13"):
        requests_of_lengths(open_folder(tiny_built_dir), Lengths(prompt=500, new=13), seed=0)


def test_a_foreign_folder_takes_the_rule_that_the_data_says(
    tiny_built_dir: Path, data: Path
) -> None:
    opened = open_folder(tiny_built_dir)
    workload = requests_on_data(opened, data=str(data), template=_TEMPLATE, seed=0)
    assert workload.rows.labels == tuple(sorted(_LABELS))
    with pytest.raises(UsageError, match="needs --template"):
        requests_on_data(opened, data=str(data), template=None, seed=0)


@pytest.mark.parametrize(
    "fields",
    [
        {"rounds": 0},
        {"template": "{a}{b}"},
        {"data": "x.jsonl", "prompt_tokens": 3},
    ],
)
def test_senseless_requests_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        MeasureRequest(**fields)  # type: ignore[arg-type]  # cases of one argument each


@pytest.mark.parametrize(("prompt", "new"), [(0, 1), (1, 0)])
def test_lengths_are_at_least_one(prompt: int, new: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Lengths(prompt=prompt, new=new)
