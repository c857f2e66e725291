"""A job from its submission to its result: the real SDK, over TLS, a service on loopback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.azureml import JobInput, JobRecord, JobRequest, RemoteRun, begin
from autotune.errors import ServiceError, UsageError

from .results import OUTPUT, RESULT, leave, log_of, of_job
from .service import Answer, FakeAzure, FakeJob, Fault, drop

JOBS = r"/jobs/autotune-[\w-]+\?"
Begin = Callable[..., RemoteRun]


def _again(run: RemoteRun) -> RemoteRun:
    """Return the run as another process finds it."""
    return RemoteRun(folder=run.folder, pause=lambda _: None)


@pytest.fixture
def begun(azure: FakeAzure, request_: JobRequest, tmp_path: Path) -> RemoteRun:
    """A run that is checked and not submitted; the service leaves a whole result."""
    azure.on_end = leave()
    return _again(begin(request_, output=tmp_path / "run", command=("autotune", "run")))


def _brought(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULT}


def test_a_job_is_submitted_watched_and_its_result_brought(
    azure: FakeAzure, begun: RemoteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert azure.requests == []  # a job is checked here before anybody is asked
    azure.on_end = leave(exit_code=1)
    assert begun.go() == 1
    assert _brought(begun.folder) == RESULT
    assert not (begun.folder / ".incoming").exists()
    record = JobRecord.load(begun.folder)
    assert record.stage == "done"
    job = azure.jobs[record.job].asked
    assert job["computeId"].endswith("/computes/cluster")
    assert azure.environments[0]["image"].startswith("mcr.microsoft.com/azureml/")
    assert "onnxruntime-genai==" in azure.environments[0]["condaFile"]
    uploaded = {name.rpartition("/")[2] for name in azure.blobs if name.startswith("code-")}
    assert {name for name in uploaded if not name.endswith(".whl")} == {"olive.json"}
    said = capsys.readouterr().err
    assert f"https://ml.azure.com/runs/{record.job}" in said
    assert re.search(r"Azure +Running\n.*Azure +Completed\n", said, re.DOTALL)


def test_data_here_is_uploaded_and_names_of_azure_are_passed_on(
    azure: FakeAzure, request_: JobRequest, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    model = "azureml://registries/azureml-msr/models/Phi-3-mini-4k-instruct/versions/11"
    azure.on_end = leave()
    asked = replace(
        request_,
        inputs=(
            JobInput(name="data", kind="uri_file", path=str(tmp_path / "rows.jsonl")),
            JobInput(name="model", kind="mlflow_model", path=model),
        ),
    )
    assert _again(begin(asked, output=tmp_path / "run", command=())).go() == 0
    (job,) = azure.jobs.values()
    assert job.asked["inputs"]["model"]["uri"] == model
    place = job.asked["inputs"]["data"]["uri"].partition("/paths/")[2]
    assert azure.blobs[f"blobs/{place}"] == b'{"a": 1}\n'


def test_output_is_told_as_it_comes_and_nothing_twice(
    azure: FakeAzure, begun: RemoteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.script = ["Queued", "Running", "Running", "Running", "Completed"]

    def look(service: FakeAzure, job: FakeJob) -> None:
        if job.status == "Running":
            name = log_of(job)
            lines = service.blobs.get(name, b"").count(b"\n")
            service.blobs[name] = service.blobs.get(name, b"") + b"line %d\n" % lines

    azure.on_look = look
    assert begun.go() == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("| ")]
    assert told == ["| line 0", "| line 1", "| line 2"]
    assert (begun.folder / "logs" / "azureml" / OUTPUT).read_text("utf-8").count("\n") == 3


def test_ctrl_c_leaves_the_job_alone_and_resume_takes_it_up(
    azure: FakeAzure, begun: RemoteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.script = ["Queued", "Running", "Running", "Completed"]

    def closed(_: float) -> None:
        raise KeyboardInterrupt

    assert replace(begun, pause=closed).go() == 130
    said = capsys.readouterr().err
    assert f"autotune resume {begun.folder}" in said
    assert f"autotune cancel {begun.folder}" in said
    assert not any(job.was_cancelled for job in azure.jobs.values())
    assert _again(begun).go() == 0
    assert _brought(begun.folder) == RESULT
    assert azure.asked("PUT", JOBS) == 1


def test_an_answer_to_the_submission_that_is_lost_makes_no_second_job(
    azure: FakeAzure, begun: RemoteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # of the SDK's own retries
    known = azure._job

    def heard_and_hung_up(method: str, name: str, whole: dict[str, object]) -> Answer:
        answer = known(method, name, whole)
        return drop() if method == "PUT" else answer

    azure._job = heard_and_hung_up  # type: ignore[method-assign] # the request arrives, no answer
    with pytest.raises(ServiceError, match=r"no answer.*Go on: autotune resume"):
        begun.go()
    azure._job = known  # type: ignore[method-assign] # same
    assert JobRecord.load(begun.folder).stage == "prepared"
    tries = azure.asked("PUT", JOBS)
    assert _again(begun).go() == 0
    assert azure.asked("PUT", JOBS) == tries
    assert len(azure.jobs) == 1


def test_a_throttled_request_is_repeated_after_what_retry_after_says(
    azure: FakeAzure, begun: RemoteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    busy = Answer(status=429, headers={"Retry-After": "7"})
    azure.faults = [
        Fault(method="PUT", path=JOBS, answer=busy),
        Fault(method="GET", path="manifest.json", answer=replace(busy, status=503)),
    ]
    assert begun.go() == 0
    assert slept.count(7.0) >= 1
    assert len(azure.jobs) == 1
    assert _brought(begun.folder) == RESULT


def test_a_service_that_is_gone_for_a_while_is_asked_again(
    azure: FakeAzure,
    begun: RemoteRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # of the SDK's own retries
    azure.script = ["Queued", "Running", "Running", "Completed"]
    known = azure._job
    left = [9]

    def gone(method: str, name: str, whole: dict[str, object]) -> Answer:
        if method == "GET" and azure.jobs and left[0]:
            left[0] -= 1
            return drop() if left[0] % 2 else Answer(status=500)
        return known(method, name, whole)

    azure._job = gone  # type: ignore[method-assign] # longer than the SDK is patient
    assert begun.go() == 0
    said = capsys.readouterr().err
    assert said.count("does not answer; the job goes on") == 1
    assert "answers again" in said


def test_a_token_that_runs_out_is_renewed(azure: FakeAzure, begun: RemoteRun) -> None:
    azure.token_life_s = 200  # less than the five minutes that a token must have left
    azure.script = ["Queued", "Running", "Running", "Completed"]

    def look(service: FakeAzure, _: FakeJob) -> None:
        service.revoked |= set(service.tokens[:-1])  # only the newest is good

    azure.on_look = look
    assert begun.go() == 0
    assert len(azure.tokens) > 2
    assert azure.revoked


def test_a_login_that_is_gone_says_how_to_go_on(azure: FakeAzure, begun: RemoteRun) -> None:
    azure.script = ["Queued", "Running"]
    azure.on_look = lambda service, _: service.revoked.update(service.tokens)
    with pytest.raises(ServiceError, match=r"needs a login.*az login.*autotune resume") as raised:
        begun.go()
    assert (raised.value.kind, raised.value.exit_code) == ("login", 4)
    azure.on_look = lambda _service, _job: None
    for job in azure.jobs.values():
        job.statuses = ["Completed"]
    assert _again(begun).go() == 0


def test_a_failed_job_brings_logs_and_reason_and_may_be_tried_again(
    azure: FakeAzure, begun: RemoteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.script, azure.reason = ["Queued", "Running", "Failed"], "the image did not build"

    def fail(service: FakeAzure, job: FakeJob) -> None:
        service.blobs[log_of(job)] = b"no space left\n"
        service.blobs[log_of(job, "azureml-logs/20_image_build_log.txt")] = b"step 3 of 4\n"
        service.blobs[log_of(job, "../../../evil.txt")] = b"outside\n"

    azure.on_end = fail
    assert begun.go() == 4
    said, logs = capsys.readouterr().err, begun.folder / "logs" / "azureml"
    assert "ended as Failed" in said
    assert "the image did not build" in said
    assert f"Once more: autotune resume {begun.folder}" in said
    assert (logs / OUTPUT).read_text("utf-8") == "no space left\n"
    assert (logs / "azureml-logs" / "20_image_build_log.txt").is_file()
    assert list(begun.folder.parent.rglob("evil.txt")) == []
    assert JobRecord.load(begun.folder).stage == "failed"

    azure.script, azure.on_end = ["Running", "Completed"], leave()
    assert _again(begun).go() == 0
    record = JobRecord.load(begun.folder)
    assert (record.attempt, record.job.endswith("-try2"), len(azure.jobs)) == (2, True, 2)
    assert _brought(begun.folder) == RESULT


def test_what_a_failed_command_had_done_comes_with_its_logs(
    azure: FakeAzure, begun: RemoteRun
) -> None:
    azure.script, azure.on_end = (
        ["Running", "Failed"],
        leave({"events.jsonl": b"{}\n"}, exit_code=4),
    )
    assert begun.go() == 4
    assert (begun.folder / "events.jsonl").read_bytes() == b"{}\n"


def test_a_job_can_be_cancelled(azure: FakeAzure, begun: RemoteRun) -> None:
    azure.script, azure.on_end = ["Queued", "Running"], lambda _service, _job: None

    def closed(_: float) -> None:
        raise KeyboardInterrupt

    assert replace(begun, pause=closed).go() == 130
    _again(begun).cancel()
    (job,) = azure.jobs.values()
    assert job.was_cancelled
    assert _again(begun).go() == 4
    assert JobRecord.load(begun.folder).stage == "canceled"
    with pytest.raises(UsageError, match="has ended: canceled"):
        _again(begun).cancel()


def test_a_download_that_breaks_off_goes_on_where_it_was(
    azure: FakeAzure, begun: RemoteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # of the SDK's own retries
    big = bytes(range(256)) * 40_000  # more than two of the blocks that are asked for
    azure.on_end = leave(RESULT | {"model/big": big})
    gone = Fault(method="GET", path="model/big", answer=drop(), times=1000)
    first = _first_block_only(azure, gone)
    with pytest.raises(ServiceError, match="autotune resume"):
        begun.go()
    had = (begun.folder / ".incoming" / "model" / "big").stat().st_size
    assert 0 < had < len(big)
    assert not (begun.folder / "model").exists()  # nothing is there before all of it is
    azure.faults, azure.answer = [], first  # type: ignore[method-assign] # as it was
    asked = azure.asked("GET", "hardware.json")
    assert _again(begun).go() == 0
    assert (begun.folder / "model" / "big").read_bytes() == big
    assert azure.asked("GET", "hardware.json") == asked  # what had come is not fetched again


def _first_block_only(azure: FakeAzure, gone: Fault) -> Callable[..., Answer]:
    """Answer the first request for the big file alone; return the answers as they were."""
    known = azure.answer

    def once(method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        answer = known(method, url, headers, body)
        if "model/big" in url and gone not in azure.faults:
            azure.faults.append(gone)
        return answer

    azure.answer = once  # type: ignore[method-assign] # the service behaves otherwise for a while
    return known


def test_a_body_that_is_cut_off_is_read_to_its_end(
    azure: FakeAzure, begun: RemoteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # of the SDK's own retries
    content = RESULT["model/weights"]
    cut = Answer(
        status=206,
        body=content,
        headers={"Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}"},
        cut_at=1000,
    )
    azure.faults = [Fault(method="GET", path="model/weights", answer=cut)]
    assert begun.go() == 0
    assert _brought(begun.folder) == RESULT


def test_a_damaged_file_is_refused(azure: FakeAzure, begun: RemoteRun) -> None:
    whole = leave()

    def damage(service: FakeAzure, job: FakeJob) -> None:
        whole(service, job)
        name = of_job(job, "model/weights")
        service.blobs[name] = b"x" + service.blobs[name][1:]

    azure.on_end = damage
    with pytest.raises(ServiceError, match="model/weights of the result does not have the digest"):
        begun.go()
    assert not (begun.folder / "model").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a\\..\\evil", "c:evil"])
def test_a_result_may_not_leave_its_folder(azure: FakeAzure, begun: RemoteRun, name: str) -> None:
    azure.on_end = leave({name: b"x"})
    with pytest.raises(ServiceError, match="outside of a run's folder"):
        begun.go()
    assert list(begun.folder.parent.rglob("*evil*")) == []


def test_a_job_that_leaves_nothing_has_failed(
    azure: FakeAzure, begun: RemoteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.on_end = lambda _service, _job: None
    assert begun.go() == 4
    assert "it left no result" in capsys.readouterr().err


def test_nothing_of_a_login_is_written(azure: FakeAzure, begun: RemoteRun) -> None:
    assert begun.go() == 0
    written = b"".join(
        path.read_bytes()
        for path in begun.folder.rglob("*")
        if path.suffix != ".whl" and path.is_file()
    )
    for secret in (b"swordfish", b"sig=", *(token.encode() for token in azure.tokens)):
        assert secret not in written
    assert json.loads((begun.folder / "azureml.json").read_bytes())["schema"] == "autotune.azureml"


def test_a_job_that_is_refused_leaves_no_folder(
    azure: FakeAzure, request_: JobRequest, tmp_path: Path
) -> None:
    absent = JobInput(name="data", kind="uri_file", path=str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="is not here"):
        begin(replace(request_, inputs=(absent,)), output=tmp_path / "run", command=())
    assert not (tmp_path / "run").exists()
    assert azure.requests == []
