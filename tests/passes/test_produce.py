"""Producing artifacts: reuse, failures, several processes, and finding the pass by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.errors import (
    AutotuneError,
    MergeError,
    OutputError,
    RunError,
    UsageError,
    WorkerError,
)
from autotune.passes import (
    Artifact,
    ArtifactStore,
    ImportGguf,
    Produced,
    pass_class,
    pass_key,
    pass_names,
    produce,
)
from autotune.targets import LocalExecutor

from .counting_pass import CountingPass, InProcessExecutor, write_plugin

HERE = Path(__file__).parent
ENTRY = {"counting": "counting_pass:CountingPass"}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_plugin(tmp_path / "plugin", ENTRY)
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.syspath_prepend(str(folder))
    return folder


def artifact(digest: str) -> Artifact:
    return Artifact(key="00" * 8, digest=digest, path=Path("model"), facts={}, seconds=0.0)


def run(
    tmp_path: Path, *, text: str = "hello", ending: str = "ok", status: str = "ok"
) -> tuple[Produced, InProcessExecutor]:
    executor = InProcessExecutor(status=status)
    produced = produce(
        CountingPass(text=text, log=str(tmp_path / "log"), ending=ending),
        {"base": artifact("aa")},
        store=ArtifactStore(tmp_path / "store"),
        executor=executor,
        versions={"numpy": "2.0", "torch": "1"},
        log_path=str(tmp_path / "worker.log"),
    )
    return produced, executor


@pytest.mark.usefixtures("plugin")
def test_a_pass_runs_once_and_is_reused_afterwards(tmp_path: Path) -> None:
    first, executor = run(tmp_path)
    again, idle = run(tmp_path)
    assert (first.reused, again.reused) == (False, True)
    assert again.artifact == first.artifact
    assert first.artifact.facts == {"inputs": ["base"], "characters": 5}
    assert first.artifact.seconds == 0.5
    assert (first.artifact.path / "out.txt").read_text() == "hello"
    assert idle.jobs == []
    assert (executor.jobs[0].pool, executor.jobs[0].timeout_s) == ("test", 60.0)
    manifest = json.loads((first.artifact.path / "manifest.json").read_text())
    assert manifest["inputs"] == {"base": "aa"}
    assert sorted(manifest["versions"]) == ["autotune", "numpy"]


@pytest.mark.usefixtures("plugin")
def test_a_changed_artifact_is_made_again(tmp_path: Path) -> None:
    first, _ = run(tmp_path)
    (first.artifact.path / "out.txt").write_text("hallo")
    again, _ = run(tmp_path)
    assert not again.reused
    assert again.artifact.digest == first.artifact.digest
    assert (again.artifact.path / "out.txt").read_text() == "hello"


@pytest.mark.parametrize(
    ("ending", "kind", "words"),
    [
        ("merge error", MergeError, "differ by 2.0"),
        ("value error", RunError, "ValueError: numbers are odd"),
        ("disk full", OutputError, "are free"),
    ],
)
@pytest.mark.usefixtures("plugin")
def test_a_failure_keeps_its_class_and_is_never_stored(
    ending: str, kind: type[AutotuneError], words: str, tmp_path: Path
) -> None:
    for attempt in (1, 2):
        with pytest.raises(kind, match=words) as caught:
            run(tmp_path, ending=ending)
        assert type(caught.value) is kind
        assert len((tmp_path / "log").read_text().splitlines()) == attempt
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
    assert not (tmp_path / "store" / "counting").exists()


@pytest.mark.parametrize("status", ["crashed", "timed_out", "out_of_memory"])
@pytest.mark.usefixtures("plugin")
def test_a_worker_without_an_answer_is_a_worker_error(status: str, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"worker\.log") as caught:
        run(tmp_path, status=status)
    assert caught.value.kind == status


@pytest.mark.usefixtures("plugin")
def test_processes_that_want_one_key_make_it_once(tmp_path: Path, plugin: Path) -> None:
    count, processes = 12, 4
    command = [sys.executable, str(HERE / "produce_many.py")]
    command += [str(tmp_path / "store"), str(tmp_path / "log"), str(count)]
    places = [str(plugin), str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(processes)
    ]
    answers = [json.loads(child.communicate(timeout=120)[0]) for child in children]
    assert all(answer == answers[0] for answer in answers)
    assert sorted((tmp_path / "log").read_text().split(), key=int) == [
        str(number) for number in range(count)
    ]


def test_a_real_worker_process_gives_the_same(
    tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{plugin}{os.pathsep}{HERE}")
    store = ArtifactStore(tmp_path / "store")
    log = str(tmp_path / "log")
    with LocalExecutor() as executor:
        made = produce(
            CountingPass(text="a", log=log), {}, store=store, executor=executor, versions={}
        )
        with pytest.raises(MergeError, match="Logits must agree"):
            produce(
                CountingPass(text="a", log=log, ending="merge error"),
                {},
                store=store,
                executor=executor,
                versions={},
            )
    assert (made.artifact.path / "out.txt").read_text() == "a"
    assert made.artifact.seconds > 0


def test_a_key_depends_on_parameters_inputs_and_named_versions_only() -> None:
    def key(text: str = "a", digest: str = "aa", **versions: str) -> str:
        return pass_key(CountingPass(text=text, log=""), {"base": artifact(digest)}, versions)

    base = key(numpy="2.0")
    assert key(numpy="2.0", torch="9") == base
    others = {key("b", numpy="2.0"), key(digest="ab", numpy="2.0"), key(numpy="2.1"), key()}
    assert len(others | {base}) == 5


def test_built_in_passes_are_found_by_name() -> None:
    assert pass_class("import-gguf") is ImportGguf
    assert {"build", "finetune", "import-gguf", "merge"} <= set(pass_names())


def test_an_unknown_pass_is_answered_with_a_near_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'finetune'"):
        pass_class("finetunes")
    with pytest.raises(UsageError, match="known are build,"):
        pass_class("zzz")


def test_two_packages_cannot_give_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plugin(tmp_path, {"merge": "elsewhere:Merge"})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match="elsewhere:Merge"):
        pass_names()
