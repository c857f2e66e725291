"""The library from Python: a run as a value, its front as a table, the same errors as flags."""

from __future__ import annotations

import html.parser
import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.cli import main
from autotune.errors import DataError, OutputError, UnitError, UsageError
from autotune.reports import load_model, load_report

from .edge_box import FP32, INT4, TEMPLATE, asked_of_edge_box, entry
from .reports.record import BASE_INT4, TUNED_INT4
from .test_run_folders import make_run


@pytest.fixture
def run(tmp_path: Path) -> autotune.Run:
    return autotune.Run.open(make_run(tmp_path / "one"))


def test_importing_the_package_imports_none_of_it() -> None:
    code = "import sys, autotune; print(sorted(m for m in sys.modules if m.startswith('autotune')))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "['autotune']\n"
    with pytest.raises(AttributeError, match="no attribute 'tuna'"):
        autotune.tuna  # noqa: B018 - the error is the point
    assert {"Run", "tune", "Model"} <= set(autotune.__all__)


def test_a_run_tells_its_choice_with_numbers_and_folder(run: autotune.Run) -> None:
    assert run.outcome == "feasible"
    assert run.best is not None
    assert run.best.name == TUNED_INT4.name
    assert run.best.folder == run.folder / "model"
    assert run.best.metrics["accuracy"].split == "test"
    assert run.baseline is not None
    assert run.baseline.folder is None
    assert run.page.is_file()
    assert len(run.trials) == 5
    assert repr(run) == f"Run(folder={run.folder!r})"
    # In a line: all its fields would fill the screen.
    assert repr(run.best).startswith(f"<Model {TUNED_INT4.name}: Accuracy 0.925 [0.895, 0.955], ")
    assert "Request latency p95 48 ms" in repr(run.best)
    assert len(repr(run.best)) < 250


def test_the_front_is_a_table(run: autotune.Run) -> None:
    pandas = pytest.importorskip("pandas")
    front: Any = run.front
    assert isinstance(front, pandas.DataFrame)
    assert list(front["model"]) == [TUNED_INT4.name, BASE_INT4.name]
    best = front.iloc[0]
    assert (best["accuracy"], best["latency.p95"], best["size"]) == (0.94, 0.048, 1.17e8)
    assert best["accuracy_low"] < best["accuracy"] < best["accuracy_high"]
    assert best["bound latency.p95"] == "pass"
    numbers = {trial.name: trial.number for trial in run.trials}
    assert list(front["trial"]) == [numbers[name] for name in front["model"]]


def test_without_pandas_the_front_is_its_rows(
    run: autotune.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    table: Any = run.front
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pandas" else real(name)
    )
    rows = run.front
    assert isinstance(rows, list)
    assert [row["model"] for row in rows] == list(table["model"])


def test_a_notebook_shows_the_answer_and_the_front(run: autotune.Run) -> None:
    shown = run._repr_html_()
    html.parser.HTMLParser().feed(shown)
    assert "<b>feasible</b>: The most accurate model that meets the bound." in shown
    assert shown.count("<tr>") == 3  # head, choice, baseline
    assert "0.925 [0.895, 0.955]" in shown


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"report\.json.*cannot be read"):
        autotune.Run.open(tmp_path)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"constraints": ["latency<=50"]}, UnitError, "needs a unit, got '50'"),
        ({"constraints": "latency<=50ms"}, UsageError, r"write \['latency<=50ms'\]"),
        ({"data": "rows.csv"}, UsageError, "needs --template"),
        ({"sampler": "best"}, UsageError, "one of tpe"),
        ({"budget": "1"}, UnitError, "--budget needs a unit"),
        ({"methods": "lora"}, UsageError, r"methods is a list of texts.*write \['lora'\]"),
        ({"methods": ["dora"]}, UsageError, "--methods has no 'dora'"),
        ({"layers": [0]}, UsageError, "--layers is 'all', or whole numbers of at least 1"),
        ({"output": "."}, OutputError, "exists already and nothing is overwritten"),
        ({"data": "no.csv", "template": "{a}{b}", "output": "run"}, DataError, "'no.csv'"),
    ],
)
def test_a_wrong_argument_is_the_flags_error_and_leaves_nothing(
    given: dict[str, Any],
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        autotune.tune(**given, quiet=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_tuning_from_a_thread_gives_a_run_that_the_command_line_knows(
    tiny_model_dir: Path,
    tiny_built_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del tiny_built_dir  # skips where the builder is absent
    entries = [entry(INT4, weights_bytes=0.5e9), entry(FP32, weights_bytes=4e9)]
    asked = asked_of_edge_box(tiny_model_dir, tmp_path, entries)
    capsys.readouterr()
    runs = []

    def work() -> None:
        runs.append(
            autotune.tune(
                data=asked.data,
                template=TEMPLATE,
                model=tiny_model_dir,
                constraints=["latency<=100ms"],
                target_report=asked.target_report,
                trials=1,
                output=tmp_path / "run",
                quiet=True,
            )
        )

    # A notebook or a server may not run it in its first thread, where signals go.
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (run,) = runs
    assert capsys.readouterr() == ("", "")
    assert (run.outcome, run.folder) == ("unconfirmed", tmp_path / "run")
    assert run.best is not None
    assert run.best.folder is not None
    assert load_model(run.best.folder).name == run.best.name
    assert run.report == load_report(tmp_path / "run" / "report.json")
    command = run.report.command
    assert command[:2] == ("autotune", "--target-report")
    assert command[-6:-4] == ("--constraint", "latency<=100ms")
    monkeypatch.setattr(sys, "argv", ["autotune", "show", str(run.folder), "--json"])
    with pytest.raises(SystemExit):
        main()
    assert json.loads(capsys.readouterr().out)["outcome"] == "unconfirmed"
