"""A sweep of the tiny model for real, interrupted and gone on with; made once for this folder."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.config import Bounds, resolve_config
from autotune.list_flags import read_space
from autotune.passes import ArtifactStore
from autotune.recipe_choice import choose_recipes
from autotune.session import Session, prepare
from autotune.step_runner import StepRunner
from autotune.sweep_plan import SweepPlan, SweepRequest
from autotune.targets import LocalExecutor

RECIPES = ("cpu-fp32", "cpu-int4-b32")
RATE, HOPELESS = "0.005", "1e+30"
TEMPLATE = r"{text}\nTone:{tone}"


def flags(**changes: str) -> list[str]:
    """Return the words of the sweep; ``changes`` by flag, an empty one is left out."""
    given = {
        "--target": "cpu",
        "--model": "model",
        "--data": "rows.csv",
        "--template": TEMPLATE,
        "--learning-rates": f"{RATE},{HOPELESS}",
        "--ranks": "4",
        "--recipes": ",".join(RECIPES),
        "--epochs": "3",
        "--rounds": "2",
        "--output": "table.csv",
        **{f"--{name.replace('_', '-')}": value for name, value in changes.items()},
    }
    return ["sweep", *(word for pair in given.items() if pair[1] for word in pair)]


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A sweep that was interrupted and gone on with; read only.

    ``after`` is the table's content at either end, ``said`` what was printed.
    """

    folder: Path
    after: tuple[str, str]
    codes: tuple[int, int]
    said: tuple[str, str]

    @property
    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(self.after[1].splitlines()))

    def row(self, method: str, rate: str, recipe: str, rung: float) -> dict[str, str]:
        (found,) = [
            row
            for row in self.rows
            if (row["x_method"], row["x_learning_rate"], row["recipe"], float(row["rung"]))
            == (method, rate, recipe, rung)
        ]
        return found


def _wait_for_rows(table: Path, n_rows: int, process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 120
    while not table.exists() or table.read_text().count("\n") < 1 + n_rows:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.fixture(scope="session")
def swept(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    if sys.platform == "win32":
        pytest.skip("no SIGINT for children")
    for module in ("onnx_ir", "onnxruntime_genai", "bitsandbytes"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed (extra 'cpu')")
    folder = tmp_path_factory.mktemp("sweep")
    shutil.copytree(tiny_model_dir, folder / "model")
    rows = [f"news of day {i},{('joy', 'fear')[i % 2]}\n" for i in range(90)]
    (folder / "rows.csv").write_text("text,tone\n" + "".join(rows), encoding="utf-8")
    command = [sys.executable, "-m", "autotune", *flags()]
    environment = {**os.environ, "AUTOTUNE_CACHE": str(folder / "store")}
    table = folder / "table.csv"
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs inherit an ignored SIGINT; a user's do not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads
    ) as process:
        try:
            _wait_for_rows(table, len(RECIPES), process)
            process.send_signal(signal.SIGINT)  # the first training imports torch meanwhile
            _, first = process.communicate(timeout=60)
        finally:
            process.kill()
    interrupted = table.read_text(encoding="utf-8")
    second = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return Swept(
        folder=folder,
        after=(interrupted, table.read_text(encoding="utf-8")),
        codes=(process.returncode, second.returncode),
        said=(first, second.stderr + second.stdout),
    )


@pytest.fixture
def at_home(swept: Swept, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in the folder of the sweep, with its store."""
    monkeypatch.chdir(swept.folder)
    monkeypatch.setenv("AUTOTUNE_CACHE", str(swept.folder / "store"))
    return swept.folder


Autotune = Callable[[list[str]], tuple[int, str, str]]


@pytest.fixture
def autotune(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Autotune:
    """Run the command line in this process; gives exit code, stdout, stderr."""

    def run(words: list[str]) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["autotune", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return run


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The sweep's session and what reads its store."""

    request: SweepRequest
    session: Session
    plan: SweepPlan
    steps: StepRunner


@pytest.fixture
def prepared(at_home: Path) -> Iterator[Prepared]:
    config = resolve_config(
        target="cpu",
        model="model",
        data="rows.csv",
        template=TEMPLATE,
        kind=None,
        validation_data=None,
        test_data=None,
        bounds=Bounds(),
        budget=None,
        trials=1,
        sampler="grid",
        seed=0,
        trust_remote_code=False,
    )
    space = read_space(
        methods="lora,qlora",
        learning_rates=RATE,
        ranks="4",
        merge_bases="dequantized",
        epochs=3.0,
        seed=0,
    )
    store = ArtifactStore()
    with LocalExecutor() as executor:
        session = prepare(config, executor=executor, store=store, log_dir=at_home)
        recipes = choose_recipes(session.recipe_offer, RECIPES)
        plan = SweepPlan(instance="model rows", space=space, recipes=recipes)
        bench = session.bench(store=store, executor=executor, log_dir=at_home)
        bench = replace(bench, rungs=plan.rungs, census_rows=len(bench.validation.rows))
        yield Prepared(
            request=SweepRequest(config=config, space=space, output=at_home / "table.csv"),
            session=session,
            plan=plan,
            steps=StepRunner(bench),
        )
