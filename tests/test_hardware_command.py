"""``autotune hardware`` on this machine: documents, exit codes, nothing overwritten."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from autotune.errors import HardwareError, OutputError, UsageError
from autotune.hardware import asks_of_census, read_assertions, run_hardware
from autotune.reports import json_schema, load_hardware_report

needs_runtime = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_genai") is None,
    reason="onnxruntime-genai is not installed",
)


@pytest.mark.parametrize("target", ["auto", "cpu", "cpu,cuda"])
def test_the_report_of_a_census_is_of_everything_here(target: str) -> None:
    assert asks_of_census(target) == {sys.executable: None}


def test_the_report_of_a_census_has_each_target_from_the_interpreter_that_was_named() -> None:
    asks = asks_of_census("cpu,webgpu@/other/python")
    here, there = asks[sys.executable], asks["/other/python"]
    assert here is not None
    assert there is not None
    assert [family.name for family in there] == ["webgpu"]
    names = [family.name for family in here]
    assert "cpu" in names
    assert "webgpu" not in names


@needs_runtime
def test_a_calibrated_report_is_complete_valid_and_loads_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page = tmp_path / "hardware.json", tmp_path / "hardware.html"
    code = run_hardware(
        target="cpu",
        output=path,
        html=page,
        as_json=True,
        asserted=["label=test bench", "price_per_hour=0.4"],
        limit_s=6.0,
    )
    assert code == 0
    data = json.loads(capsys.readouterr().out)
    assert data == json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(data, json_schema("hardware-1.0"))
    report = load_hardware_report(path)
    assert (report.complete, report.label) == (True, "test bench")
    assert report.calibration is not None
    (device,) = report.calibration.devices
    assert device.bandwidth() is not None
    assert device.product("fp32") is not None
    assert report.calibration.noise_floor() is not None
    assert report.targets[0].nodes == {"CPUExecutionProvider": 1}
    assert "<h1>Hardware report</h1>" in page.read_text(encoding="utf-8")


@needs_runtime
def test_without_calibration_the_report_says_that_it_is_not_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hardware.json"
    assert run_hardware(output=path, calibrate=False) == 0
    report = load_hardware_report(path)
    assert not report.complete
    assert report.calibration is None
    assert [one.field for one in report.missing if one.is_required] == ["calibration"]
    out = capsys.readouterr().out
    assert "Not known (the report is not complete)" in out
    assert max(map(len, out.splitlines())) <= 100


@needs_runtime
def test_a_named_target_that_is_not_here_is_exit_code_3_with_the_report_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hardware.json"
    code = run_hardware(target="cpu,cuda", output=path, calibrate=False)
    found = {one.name: one for one in load_hardware_report(path).targets}
    if found["cuda"].status == "proven":
        pytest.skip("CUDA is usable here")
    assert code == 3
    assert "Target 'cuda' is not usable here" in capsys.readouterr().err
    assert found["cuda"].install == ('pip install "autotune-slm[cuda]"',)


def environment(folder: Path, *packages: tuple[str, str, str]) -> str:
    """Return the Python of an environment whose metadata name ``packages``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.rglob("site-packages")
    for name, version, module in packages:
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text(f"{module}/__init__.py,,\n")
    return str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def test_packages_that_exclude_each_other_stand_in_the_report_with_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = environment(
        tmp_path / "v",
        ("onnxruntime", "1.32.0", "onnxruntime"),
        ("onnxruntime-gpu", "1.31.1", "onnxruntime"),
    )
    path = tmp_path / "hardware.json"
    assert run_hardware(target=f"cpu@{python}", output=path) == 3
    report = load_hardware_report(path)
    assert not report.complete
    assert report.conflicts[0].commands == (
        f"{python} -m pip uninstall -y onnxruntime onnxruntime-gpu",
        f"{python} -m pip install --no-deps onnxruntime-gpu==1.31.1",
    )
    error = capsys.readouterr().err
    assert all(command in error for command in report.conflicts[0].commands)


def test_an_environment_without_a_runtime_has_no_target(tmp_path: Path) -> None:
    python = environment(tmp_path / "v")
    path = tmp_path / "hardware.json"
    assert run_hardware(target=f"cpu@{python}", output=path) == 3
    report = load_hardware_report(path)
    assert [one.field for one in report.missing if one.is_required] == ["targets", "calibration"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": "cdua"}, UsageError, "did you mean 'cuda'"),
        ({"target": "auto,cpu"}, UsageError, "'auto' stands alone"),
        ({"target": "cpu@/no/such/python"}, HardwareError, "cannot be run"),
        ({"asserted": ["label"]}, UsageError, "KEY=VALUE"),
        ({"asserted": ["Label=x"]}, UsageError, "lower case"),
        ({"asserted": ["label="]}, UsageError, "KEY=VALUE"),
        ({"asserted": ["label=a", "label=b"]}, UsageError, "'label' twice"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_hardware(calibrate=False, **arguments)


@pytest.mark.parametrize("option", ["output", "html"])
def test_an_existing_file_is_kept(tmp_path: Path, option: str) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    paths: dict[str, Any] = {option: kept}
    with pytest.raises(OutputError, match="exists and is kept"):
        run_hardware(**paths)
    assert kept.read_text() == "mine"


def test_asserted_values_are_texts_or_finite_numbers() -> None:
    texts = ["role=edge", "price_per_hour=0.4", "notes=a=b", "serial=nan"]
    assert read_assertions(texts) == {
        "role": "edge",
        "price_per_hour": 0.4,
        "notes": "a=b",
        "serial": "nan",
    }
