"""The job's side: run the command, then hand the whole run over, its manifest last.

    python -m autotune.azureml.job --result FOLDER [--input PLACE=PATH]... -- WORDS...

The run is written to the machine's own disk, since a mounted store knows neither locks nor hard
links, and copied to the result when it is whole. A run that found nothing feasible is a
result as well: the job fails only where the command did.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from autotune.config import RunConfig
from autotune.plain import from_plain

from .manifest import MANIFEST, Manifest
from .mlflow import model_inside
from .request import COMMAND, REQUEST

__all__ = ["main"]

_RUN, _HARDWARE = "run", "hardware.json"
_RESULTS = (0, 1)  # exit codes of a run that came to an end
_SECRET, _API = "hf-token", "7.4"  # Olive's name of it; the vault's interface
_PATHS = ("model", "data", "validation_data", "test_data", "target_report")
_TRIES, _PAUSE_S = 3, 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments say and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m autotune.azureml.job")
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--input", action="append", default=[])
    parser.add_argument("words", nargs="+")
    asked = parser.parse_args(arguments)
    for text in asked.input:
        place, _, path = text.partition("=")
        _stand_in(Path(place), Path(path))
    environment = _environment(os.environ)
    words = asked.words
    if words[0] == "resume":  # a run of flags: its folder is made here
        _prepare(Path(_RUN))
    else:
        words = [*words, "--output", _RUN]
    code = _autotune(words, environment)
    if code in _RESULTS:
        _take_hardware_report(words, environment)
    _hand_over(Path(_RUN), asked.result, exit_code=code)
    return 0 if code in _RESULTS else code


def _stand_in(place: Path, path: Path) -> None:
    """Make an input stand under the name that it had, however it is mounted."""
    source = path / place.name
    if path.is_file() or not source.exists():
        source = path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(source.absolute(), target_is_directory=source.is_dir())


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the command: the job's, what it is called, and a token by name."""
    job = given.get("AZUREML_RUN_ID")
    place = given.get("AUTOTUNE_PLACE", "")
    variables = {**given, "AUTOTUNE_PLACE": f"{place}, job {job}" if job else place}
    if vault := given.get("AUTOTUNE_KEYVAULT"):
        variables["HF_TOKEN"] = _secret_of(vault)
    return variables


def _secret_of(vault: str) -> str:
    """Return the hub's token from a key vault, as the job's own identity may read it."""
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - only where it is asked for

    token = DefaultAzureCredential().get_token("https://vault.azure.net/.default").token
    request = urllib.request.Request(
        f"https://{vault}.vault.azure.net/secrets/{_SECRET}?api-version={_API}",
        headers={"Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - https, as above
        return str(json.load(answer)["value"])


def _prepare(folder: Path) -> None:
    """Make a run's folder from the request: with the inputs' paths of this machine."""
    content: dict[str, Any] = json.loads(Path(REQUEST).read_text(encoding="utf-8"))
    for name in _PATHS:
        value = content.get(name)
        if value and Path(value).exists():
            path = Path(value).absolute()
            content[name] = str(model_inside(path) if name == "model" else path)
    (folder / "logs").mkdir(parents=True)
    from_plain(RunConfig, content).save(folder / "run.json")
    shutil.copy(COMMAND, folder / COMMAND)


def _autotune(
    words: Sequence[str], environment: Mapping[str, str], *, log: Path | None = None
) -> int:
    """Run a command of autotune and return its exit code; what it prints goes to ``log``."""
    command = [sys.executable, "-m", "autotune", *words]
    with ExitStack() as until_end:
        stream = until_end.enter_context(log.open("wb")) if log else None
        return subprocess.run(
            command, check=False, env=dict(environment), stdout=stream, stderr=stream
        ).returncode


def _take_hardware_report(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Put this machine's report beside the run's; a run without it is a result still."""
    folder = Path(_RUN)
    if "--target" in words:
        target = words[list(words).index("--target") + 1]
    else:
        target = RunConfig.load(folder / "run.json").target
    asked = ["hardware", "--target", target, "--output", str(folder / _HARDWARE)]
    (folder / "logs").mkdir(exist_ok=True)
    _autotune(asked, environment, log=folder / "logs" / "hardware.log")


def _hand_over(folder: Path, result: Path, *, exit_code: int) -> None:
    """Copy the run; the manifest says that it is whole."""
    result.mkdir(parents=True, exist_ok=True)
    (result / MANIFEST).unlink(missing_ok=True)  # of an attempt before this one
    folder.mkdir(exist_ok=True)
    manifest = Manifest.of(folder, exit_code=exit_code)
    for name in manifest.files:
        target = result / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _copied(folder / name, target)
    (result / MANIFEST).write_text(manifest.text, encoding="utf-8")


def _copied(source: Path, target: Path) -> None:
    """Copy a file to a mounted store, which may fail for a moment."""
    for attempt in range(1, _TRIES + 1):
        try:
            shutil.copyfile(source, target)
        except OSError:
            if attempt == _TRIES:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
