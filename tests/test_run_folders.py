"""Run folders on disk: listed whatever state they are in, found by name, removed with care."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

from autotune.cli import main
from autotune.config import RunConfig
from autotune.errors import UsageError
from autotune.plain import to_plain
from autotune.reports import (
    EventLog,
    TrialLog,
    TrialOrigin,
    build_report,
    trials_of,
    write_json_atomic,
    write_mistakes,
)
from autotune.run_folders import find_run, list_runs, read_run
from autotune.run_removal import plan_removal, remove

from .reports.long_record import MISTAKES
from .reports.record import TUNED_INT4, context, events


def make_run(path: Path, *, created: str = "2026-11-23T10:00:00+00:00") -> Path:
    """Write what a finished run leaves, its weights a link into a store."""
    path.mkdir(parents=True)
    RunConfig().save(path / "run.json")
    report = to_plain(build_report(context(), events())) | {"created": created}
    write_json_atomic(path / "report.json", report)
    origin = TrialOrigin(versions={}, device="cpu", seed=0)
    TrialLog(path / "trials.jsonl").catch_up(trials_of(events(), origin))
    for event in events():
        EventLog(path / "events.jsonl").append(event)
    for name in ("identity.json", "report.html", "study.journal"):
        (path / name).write_text("{}", encoding="utf-8")
    (path / "logs").mkdir()
    (path / "logs" / "run.log").write_text("line\n" * 100, encoding="utf-8")
    (path / "model").mkdir()
    weights = path.parent / "weights-of-the-store"
    weights.write_bytes(b"w" * 5000)
    (path / "model" / "model.onnx.data").hardlink_to(weights)
    return path


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


Autotune = Callable[..., tuple[int, str, str]]


@pytest.fixture
def autotune(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Autotune:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["autotune", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return run


# Listing and showing


def test_runs_in_every_state_are_listed_the_latest_first(autotune: Autotune) -> None:
    make_run(Path("results/old"), created="2026-11-20T10:00:00+00:00")
    make_run(Path("results/new"), created="2026-11-24T10:00:00+00:00")
    half = make_run(Path("results/half"))
    (half / "report.json").unlink()
    torn = make_run(Path("results/torn"))
    (torn / "report.json").write_text('{"schema": "autotune.run", "sch', encoding="utf-8")
    later = make_run(Path("results/later"))
    write_json_atomic(later / "report.json", {"schema": "autotune.run", "schema_version": "9.0"})
    Path("results/notes").mkdir()
    Path("results/README.md").write_text("text", encoding="utf-8")
    code, out, err = autotune("ls")
    assert (code, err) == (0, "")
    states = {line.split()[0]: line for line in out.splitlines()[1:6]}
    assert list(states)[:2] == ["new", "old"]
    assert "feasible" in states["new"]
    assert "0.925" in states["new"]
    assert "48 ms" in states["new"]
    assert TUNED_INT4.name in states["new"]
    assert "unfinished" in states["half"]
    assert "damaged" in states["torn"]
    assert "damaged" in states["later"]
    assert "results/later: report.json is of 'autotune.run' '9.0'" in out
    assert "notes" not in out
    code, out, _ = autotune("ls", "results", "--json")
    assert {one["state"] for one in json.loads(out)} == {"feasible", "unfinished", "damaged"}


def test_nowhere_and_nothing_are_told_apart(autotune: Autotune, somewhere_else: Path) -> None:
    assert autotune("ls")[:2] == (0, "There are no runs in 'results'.\n")
    assert autotune("ls", ".")[:2] == (0, "There are no runs in '.'.\n")
    code, _, err = autotune("ls", "nowhere")
    assert code == 2
    assert "'nowhere' cannot be listed (No such file or directory)" in err
    code, _, err = autotune("show")
    assert code == 2
    assert "no run in 'results' to take the latest of" in err
    assert list(somewhere_else.iterdir()) == []


def test_a_run_is_shown_with_its_choice_its_trials_and_what_to_do_next(autotune: Autotune) -> None:
    make_run(Path("results/one"))
    code, out, _ = autotune("show")
    assert code == 0
    assert out.startswith("results/one: feasible, 2026-11-23T10:00:00+00:00\n")
    assert f"Chosen: {TUNED_INT4.name}" in out
    assert "accuracy     0.925 [0.895, 0.955]" in out
    assert "latency.p95 <= 100 ms: pass" in out
    assert "0  front  measured" in out  # the untrained one
    assert "out of memory" in out
    assert "autotune export results/one --trial N" in out
    assert json.loads(autotune("show", "one", "--json")[1])["schema"] == "autotune.run"
    Path("results/one/report.json").unlink()
    out = autotune("show", "one")[1]
    assert "results/one: unfinished" in out
    assert "autotune resume results/one" in out


def test_the_page_is_written_again_with_or_without_texts_of_the_data(autotune: Autotune) -> None:
    run = make_run(Path("results/one"))
    write_mistakes(run / "mistakes.jsonl", MISTAKES)
    assert autotune("show", "one", "--page")[:2] == (0, "results/one/report.html\n")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Wrong examples: 2 rows" in page
    assert "autotune export results/one --trial 0" in page
    assert autotune("show", "one", "--page", "--without-examples")[0] == 0
    assert "Wrong examples" not in (run / "report.html").read_text(encoding="utf-8")
    for flag in (["--without-examples"], ["--hardware", "h.json"]):
        code, _, err = autotune("show", "one", *flag)
        assert code == 2
        assert f"{flag[0]} says how the page is written; add --page" in err
    (run / "mistakes.jsonl").write_text('{"row": "x"}\n', encoding="utf-8")
    code, _, err = autotune("show", "one", "--page")
    assert code == 4
    assert "is damaged at row" in err


def test_a_run_named_twice_is_removed_once(autotune: Autotune) -> None:
    run = make_run(Path("results/one"))
    code, _, err = autotune("rm", "one", "results/one", "--yes")
    assert (code, err.count("\n")) == (0, 1)
    assert not run.exists()


@pytest.mark.parametrize("damage", ['{"schema": "autotune.run", "schema_version": "1.0"}', "[3]"])
def test_whatever_a_report_lacks_it_can_be_shown(autotune: Autotune, damage: str) -> None:
    run = make_run(Path("results/one"))
    (run / "report.json").write_text(damage, encoding="utf-8")
    (run / "trials.jsonl").write_text('{"number": 0}\n[]\n{"torn', encoding="utf-8")
    assert autotune("show", "one")[0] == 0
    assert autotune("ls")[0] == 0


def test_a_folder_that_is_no_run_is_refused_by_name(autotune: Autotune) -> None:
    Path("photos").mkdir()
    for words in (
        ["show", "photos"],
        ["rm", "photos", "--yes"],
        ["export", "photos", "--trial", "0"],
    ):
        code, _, err = autotune(*words)
        assert code == 2
        assert "'photos'" in err
        assert "run.json" in err
    assert Path("photos").is_dir()


def test_two_runs_of_one_name_are_not_guessed_between() -> None:
    make_run(Path("results/one"))
    assert find_run("one") == Path("results/one")
    make_run(Path("one"))
    with pytest.raises(UsageError, match=r"'one' names two runs; say '\./one' or 'results/one'"):
        find_run("one")
    assert find_run("./one").samefile("one")
    assert find_run("results/one").samefile("results/one")
    with pytest.raises(UsageError, match="has none"):
        read_run(find_run("none"))


def test_a_run_that_goes_on_is_running() -> None:
    run = make_run(Path("results/one"))
    (run / "report.json").unlink()
    with FileLock(run / "study.journal.held"):
        (found,) = list_runs(Path("results"))
        assert found.state == "running"
        with pytest.raises(UsageError, match="is being written by a run"):
            plan_removal(run)
    assert read_run(run).state == "unfinished"


@pytest.mark.skipif(sys.platform == "win32", reason="the module resource is not on Windows")
@pytest.mark.parametrize("words", [["ls"], ["show", "one"]])
def test_looking_something_up_takes_a_moment_and_no_heavy_library(words: list[str]) -> None:
    import resource  # noqa: PLC0415 - not on Windows

    make_run(Path("results/one"))
    code = (
        "import sys; sys.argv = ['autotune', *sys.argv[1:]]\n"
        "from autotune.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'onnxruntime', 'optuna', 'pandas', 'numpy', 'rich'} & set(sys.modules))\n"
    )

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True
        )
        assert done.stdout.endswith("set()\n"), done.stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(3)) <= 0.4


# Removing


def test_a_run_is_removed_whole_and_its_weights_stay_in_the_store(autotune: Autotune) -> None:
    run = make_run(Path("results/one"))
    (run / "model-3").mkdir()
    code, _, err = autotune("rm", "one", "--yes")
    assert code == 0
    assert "results/one (" in err
    assert "model-3" in err
    assert not run.exists()
    assert Path("results/weights-of-the-store").stat().st_size == 5000


def test_what_somebody_put_there_stays_and_so_does_its_folder() -> None:
    run = make_run(Path("results/one"))
    (run / "notes.txt").write_text("mine", encoding="utf-8")
    (run / "model-card").mkdir()
    plan = plan_removal(run)
    assert [one.name for one in plan.others] == ["model-card", "notes.txt"]
    assert plan.ours[-1].name == "run.json"
    # The weights have another name in the store: removing them frees nothing.
    assert plan.freed_bytes < 5000 + sum(f.stat().st_size for f in run.glob("*.json*"))
    remove(plan)
    assert sorted(one.name for one in run.iterdir()) == ["model-card", "notes.txt"]


def test_links_are_removed_and_never_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data.csv").write_text("1", encoding="utf-8")
    run = make_run(Path("results/one"))
    (run / "model" / "link").symlink_to(precious)
    (run / "model-7").symlink_to(precious)
    alias = Path("alias")
    alias.symlink_to(run)
    with pytest.raises(UsageError, match="is a link to"):
        plan_removal(alias)
    remove(plan_removal(run))
    assert not run.exists()
    assert (precious / "data.csv").read_text(encoding="utf-8") == "1"


def test_nothing_is_removed_unasked(autotune: Autotune, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(Path("results/one"))
    with open(os.devnull, encoding="utf-8") as nowhere:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdin", nowhere)
        code, _, err = autotune("rm", "one")
    assert code == 2
    assert "add --yes" in err
    assert (run / "run.json").exists()


def test_one_wrong_name_among_several_removes_none(autotune: Autotune) -> None:
    run = make_run(Path("results/one"))
    code, _, err = autotune("rm", "one", "two", "--yes")
    assert code == 2
    assert "'two'" in err
    assert (run / "run.json").exists()


# The dashboard


@pytest.mark.enable_socket
def test_the_dashboard_says_what_it_lacks(autotune: Autotune) -> None:
    run = make_run(Path("results/one"))
    has_extra = find_spec("optuna_dashboard") is not None
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = autotune("dashboard", "one", "--port", str(port))
    assert code == 2
    assert (f"Port {port} of 127.0.0.1" if has_extra else "autotune-slm[dashboard]") in err
    if has_extra:
        (run / "study.journal").write_text("{}\n", encoding="utf-8")
        code, _, err = autotune("dashboard", "one", "--port", str(port))
        assert (code, "is no whole journal" in err) == (2, True)
    (run / "study.journal").write_text("", encoding="utf-8")
    assert "has no study yet" in autotune("dashboard", "one")[2]


def test_a_run_is_resumed_by_its_name_too(autotune: Autotune) -> None:
    make_run(Path("results/one"))
    code, _, err = autotune("resume", "one")
    assert code == 2
    assert "'results/one' is finished; its report is results/one/report.json" in err
