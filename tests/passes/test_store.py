"""The artifact store: whole or absent, checked, one maker per key."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.errors import OutputError, StoreError
from autotune.passes import Artifact, ArtifactStore, Origin, default_root

KEY = "0123456789abcdef" * 4
HERE = Path(__file__).parent


def origin(key: str = KEY) -> Origin:
    return Origin(
        key=key,
        name="counting",
        parameters={"rate": 0.001},
        inputs={"base": "00ff"},
        versions={"torch": "2.13"},
    )


def store_with(
    root: Path, *, key: str = KEY, text: str = "content"
) -> tuple[ArtifactStore, Artifact]:
    store = ArtifactStore(root)
    with store.workdir(key) as workdir:
        (workdir / "sub").mkdir()
        (workdir / "sub" / "weights.bin").write_bytes(bytes(range(256)) * 40)
        (workdir / "a.txt").write_text(text)
        artifact = store.commit(workdir, origin(key), facts={"loss": 0.5}, seconds=2.0)
    return store, artifact


def test_a_committed_artifact_is_found_again_with_its_facts(tmp_path: Path) -> None:
    _, artifact = store_with(tmp_path)
    found = ArtifactStore(tmp_path).get(KEY, "counting")
    assert found == artifact
    assert found.path == tmp_path / "counting" / KEY[:2] / KEY
    assert (found.facts, found.seconds) == ({"loss": 0.5}, 2.0)
    manifest = json.loads((found.path / "manifest.json").read_text())
    assert manifest["schema"] == 1
    assert manifest["parameters"] == {"rate": 0.001}
    assert [entry["path"] for entry in manifest["files"]] == ["a.txt", "sub/weights.bin"]


def test_a_discarded_artifact_is_absent_and_can_be_made_again(tmp_path: Path) -> None:
    store, artifact = store_with(tmp_path)
    store.discard(artifact)
    assert not artifact.path.exists()
    assert store.get_verified(KEY, "counting") is None
    _, again = store_with(tmp_path)
    assert again == artifact
    assert [path for path in (tmp_path / "tmp").iterdir() if path.is_dir()] == []


def test_what_was_never_committed_is_absent(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with store.workdir(KEY) as workdir:
        (workdir / "half").write_text("done")
    assert store.get(KEY, "counting") is None
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_first_commit_of_a_key_stays(tmp_path: Path) -> None:
    _, first = store_with(tmp_path, text="first")
    _, second = store_with(tmp_path, text="second")
    assert second == first
    assert (first.path / "a.txt").read_text() == "first"


def test_equal_content_has_one_digest_under_any_key(tmp_path: Path) -> None:
    _, one = store_with(tmp_path)
    _, two = store_with(tmp_path, key="f" * 64)
    _, other = store_with(tmp_path, key="e" * 64, text="else")
    assert one.digest == two.digest != other.digest


def flip_a_byte(path: Path) -> None:
    content = bytearray((path / "sub" / "weights.bin").read_bytes())
    content[5000] ^= 1
    (path / "sub" / "weights.bin").write_bytes(content)


def swap_files(path: Path) -> None:
    (path / "a.txt").write_text("tnetnoc")  # as many bytes


def truncate(path: Path) -> None:
    os.truncate(path / "sub" / "weights.bin", 10_239)


def replace_by_link(path: Path) -> None:
    (path / "a.txt").rename(path / "b.txt")
    (path / "a.txt").symlink_to("b.txt")


def change_manifest(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"size": 7', '"size": 8'))


def age_manifest(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"schema": 1', '"schema": 0'))


SEEN_AT_ONCE: dict[str, Callable[[Path], object]] = {
    "truncated file": truncate,
    "missing file": lambda path: (path / "a.txt").unlink(),
    "missing folder": lambda path: shutil.rmtree(path / "sub"),
    "link": replace_by_link,
    "missing manifest": lambda path: (path / "manifest.json").unlink(),
    "empty manifest": lambda path: (path / "manifest.json").write_text(""),
    "list as manifest": lambda path: (path / "manifest.json").write_text("[]"),
    "manifest without fields": lambda path: (path / "manifest.json").write_text('{"schema": 1}'),
    "changed manifest": change_manifest,
    "older schema": age_manifest,
}
SEEN_BY_READING: dict[str, Callable[[Path], object]] = {
    "flipped byte": flip_a_byte,
    "other content of the same size": swap_files,
}


@pytest.mark.parametrize("damage", SEEN_AT_ONCE.values(), ids=SEEN_AT_ONCE)
def test_a_damaged_artifact_is_missing_and_can_be_made_again(
    damage: Callable[[Path], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, artifact = store_with(tmp_path)
    damage(artifact.path)
    assert store.get(KEY, "counting") is None
    assert "damaged artifact" in caplog.text
    assert not artifact.path.exists()
    assert list((tmp_path / "tmp").iterdir()) == []
    _, again = store_with(tmp_path)
    assert again.digest == artifact.digest


@pytest.mark.parametrize("damage", SEEN_BY_READING.values(), ids=SEEN_BY_READING)
def test_changed_content_is_found_before_its_first_use_in_a_process(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    _, artifact = store_with(tmp_path)
    damage(artifact.path)
    with pytest.raises(StoreError, match="SHA-256"):
        ArtifactStore(tmp_path).verify(artifact)
    assert ArtifactStore(tmp_path).get_verified(KEY, "counting") is None
    assert not artifact.path.exists()


@pytest.mark.parametrize("kind", ["link", "manifest", "pipe"])
def test_only_plain_files_are_committed(kind: str, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with store.workdir(KEY) as workdir:
        if kind == "link":
            (workdir / "x").symlink_to("/etc/passwd")
        elif kind == "pipe":
            os.mkfifo(workdir / "x")
        else:
            (workdir / "manifest.json").write_text("{}")
        with pytest.raises(StoreError):
            store.commit(workdir, origin(), facts={}, seconds=0.0)
    assert store.get(KEY, "counting") is None


@pytest.mark.parametrize(
    ("key", "name"),
    [("../../etc", "counting"), (KEY, "../x"), (KEY, "tmp"), (KEY, "Big"), ("AB" * 32, "counting")],
)
def test_keys_and_names_cannot_leave_the_store(key: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is lower case|is 16 to 64 lower case"):
        ArtifactStore(tmp_path).get(key, name)


def test_a_process_killed_anywhere_in_a_commit_leaves_all_or_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "crash_commit.py"), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    states = json.loads(done.stdout)
    assert len(states) > 15  # so many places there were to die at
    assert [state["killed"] for state in states] == [True] * (len(states) - 1) + [False]
    assert all(state["visible"] == state["whole"] for state in states)
    assert all(state["left"] == [] for state in states)
    assert {state["whole"] for state in states} == {True, False}


def test_folders_of_dead_processes_are_reclaimed_and_those_of_living_ones_stay(
    tmp_path: Path,
) -> None:
    code = (
        "import sys; from pathlib import Path; from autotune.passes import ArtifactStore\n"
        f"with ArtifactStore(Path(sys.argv[1])).workdir({KEY!r}) as folder:\n"
        "    (folder / 'x').write_text('x'); print(folder, flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        folder = Path(child.stdout.readline().strip())
        assert f"-{child.pid}-" in folder.name
        ArtifactStore(tmp_path)
        assert (folder / "x").exists()
        child.send_signal(signal.SIGKILL)
    ArtifactStore(tmp_path)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_full_disk_is_an_error_that_names_path_and_bytes(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with store.workdir(KEY) as workdir:
        (workdir / "a.bin").write_bytes(b"a" * 3000)
        # As on a disk with 64 bytes left: the manifest does not fit any more.
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        try:
            with pytest.raises(OutputError, match=r"needs 3 kB, .* are free") as caught:
                store.commit(workdir, origin(), facts={}, seconds=0.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, previous)
    assert str(tmp_path) in str(caught.value)
    assert store.get(KEY, "counting") is None
    assert store_with(tmp_path)[1].path.exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place that takes no folders")
def test_a_store_where_no_folder_can_be_made_is_refused() -> None:
    with pytest.raises(OutputError, match=r"cannot be made .* AUTOTUNE_CACHE"):
        ArtifactStore(Path("/proc/cache"))


def test_a_store_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="AUTOTUNE_CACHE"):
        ArtifactStore(tmp_path / "file" / "store")


def test_size_counts_what_is_stored(tmp_path: Path) -> None:
    store, artifact = store_with(tmp_path)
    manifest = (artifact.path / "manifest.json").stat().st_size
    assert store.size() == 10_240 + len("content") + manifest
    assert store.free_bytes() > 0


def test_the_default_root_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "cache"))
    assert default_root() == tmp_path / "cache"
    monkeypatch.delenv("AUTOTUNE_CACHE")
    assert default_root().parts[-2:] == ("autotune", "store")
