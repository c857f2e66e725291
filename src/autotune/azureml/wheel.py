"""This very autotune as a wheel, whether it is installed from one or runs from a checkout.

A job has to run the code that wrote its request, and a checkout is on no index. Nothing is
compiled, so a wheel is the files, the installed metadata and their digests; times are fixed,
so that unchanged code has unchanged bytes and is not uploaded again.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from autotune import __version__
from autotune.errors import UsageError

from .environment import DISTRIBUTION

__all__ = ["PACKAGES", "wheel_name", "write_wheel"]

# The package and those that a checkout keeps beside it (pyproject.toml, package-dir).
PACKAGES = ("", "evaluators", "passes", "reports", "search", "targets")
_STEM = DISTRIBUTION.replace("-", "_")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_WHEEL = "Wheel-Version: 1.0\nGenerator: autotune\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_LEFT_OUT = {"__pycache__"}


def wheel_name() -> str:
    """Return the file name of the wheel."""
    return f"{_STEM}-{__version__}-py3-none-any.whl"


def write_wheel(folder: Path) -> Path:
    """Write the wheel into ``folder`` and return its path.

    Raises:
        UsageError: autotune is not installed as a package, so that it has no metadata.
    """
    info = f"{_STEM}-{__version__}.dist-info"
    entries = dict(_sources())
    entries |= {f"{info}/{name}": content for name, content in _metadata().items()}
    record = f"{info}/RECORD"
    lines = [f"{name},{_digest(content)},{len(content)}" for name, content in entries.items()]
    entries[record] = "\n".join([*lines, f"{record},,"]).encode() + b"\n"
    path = folder / wheel_name()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name, date_time=_EPOCH)
            archive.writestr(entry, content, compress_type=zipfile.ZIP_DEFLATED)
    return path


def _sources() -> Iterator[tuple[str, bytes]]:
    """Yield every file of every package under the name it has when installed."""
    seen = set()
    for package in PACKAGES:
        spec = find_spec(f"autotune.{package}" if package else "autotune")
        if spec is None or not spec.submodule_search_locations:
            raise UsageError(f"This installation lacks the package 'autotune.{package}'.")
        root = Path(spec.submodule_search_locations[0])
        for path in sorted(root.rglob("*")):
            inner = path.relative_to(root)
            if path.is_file() and not _LEFT_OUT & set(inner.parts):
                name = "/".join(filter(None, ("autotune", package, inner.as_posix())))
                if name not in seen:  # installed from a wheel, all lie below the first
                    seen.add(name)
                    yield name, path.read_bytes()


def _metadata() -> dict[str, bytes]:
    from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415 - slow

    try:
        found = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        raise UsageError(
            f"A job runs the autotune that is installed here, and {DISTRIBUTION!r} is not;"
            " install it with pip."
        ) from None
    # A checkout's own egg-info, found first from its root, has the same under another name.
    texts = {
        "METADATA": found.read_text("METADATA") or found.read_text("PKG-INFO"),
        "entry_points.txt": found.read_text("entry_points.txt"),
        "WHEEL": _WHEEL,
    }
    return {name: text.encode() for name, text in texts.items() if text}


def _digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"
