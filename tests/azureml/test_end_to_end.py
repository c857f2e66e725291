"""A run sent away, with the job's own command run for real: wheel, request, data and result."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.run_folders import read_run

from .compute import Compute
from .service import FakeAzure

# One training and one build, so that the search's own work is not repeated here.
CHAIN = {
    "input_model": {"type": "HfModel", "model_path": "owner/name"},
    "data_configs": [
        {
            "name": "moods",
            "type": "HuggingfaceContainer",
            "load_dataset_config": {"data_name": "json", "data_files": "rows.jsonl"},
            "pre_process_data_config": {
                "text_template": "Line: {line}\nMood:\n{mood}",
                "max_seq_len": 48,
            },
        }
    ],
    "passes": {
        "tune": {
            "type": "LoRA",
            "r": 4,
            "alpha": 8,
            "train_data_config": "moods",
            "training_args": {"per_device_train_batch_size": 2, "max_steps": 2, "seed": 7},
        },
        "fold": {"type": "MergeAdapterWeights"},
        "make": {"type": "ModelBuilder", "precision": "fp32"},
    },
}


@pytest.mark.slow
def test_a_run_elsewhere_comes_back_as_a_run(
    azure: FakeAzure,
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("onnxruntime_genai", reason="the builder is of the extra 'cpu'")
    monkeypatch.chdir(tmp_path)
    lines = [{"line": f"the sea on day {n}", "mood": ("calm", "wild")[n % 2]} for n in range(48)]
    Path("rows.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines), "utf-8")
    Path("olive.json").write_text(json.dumps(CHAIN), encoding="utf-8")
    compute = Compute(tmp_path / "compute")
    azure.script, azure.on_look = ["Queued", "Running"], compute.look
    words = ["run", "olive.json", "--on", "azureml:0000/group/space/cluster", "--output", "there"]
    words += ["--model", str(tiny_model_dir), "--target", "cpu"]
    monkeypatch.setattr(sys, "argv", ["autotune", *words])
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        compute.rest()
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    run = read_run(Path("there"))
    assert (run.state, run.job["stage"]) == ("feasible", "done")
    assert "| Chosen" in err or "Chosen" in out
    report = json.loads(Path("there/report.json").read_text("utf-8"))
    name = run.job["job"]
    assert any(f"Ran on azureml:cluster, job {name}" in note for note in report["notes"])
    assert report["command"][:3] == ["autotune", "run", "olive.json"]
    hardware = json.loads(Path("there/hardware.json").read_text("utf-8"))
    assert hardware["schema"] == "autotune.hardware"
    for path in ("model/run.py", "report.html", "events.jsonl", "logs/azureml.log"):
        assert (Path("there") / path).is_file()
