"""``autotune export ... --package``: deploy folders of several machines as one model package."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from autotune.errors import ModelSourceError, RunError, UsageError
from autotune.measured_folder import open_folder
from autotune.reports import PACKAGE_COMPONENT, PackagedModel, write_model_package
from autotune.targets import Job, LocalExecutor, families

__all__ = ["check_package", "export_package"]

_CHECK_S = 300.0


def export_package(folders: Sequence[Path], *, output: Path) -> str:
    """Write the package of the models in ``folders``; return what onnxruntime said of it.

    Args:
        folders: deploy folders of one task, each for another execution provider.
        output: the folder to make.

    Raises:
        UsageError: no deploy folder, two tasks, or two models for one provider.
        StoreError: a file differs from SHA256SUMS.
        OutputError: ``output`` exists or cannot be written.
        RunError: onnxruntime does not read what was written.
    """
    models = [_packaged(folder) for folder in folders]
    _check_together(models)
    write_model_package(output, models)
    return check_package(output)


def _packaged(folder: Path) -> PackagedModel:
    opened = open_folder(folder)
    if opened.description is None:
        raise UsageError(
            f"A package is made of deploy folders of autotune, {str(folder)!r} has no"
            " autotune.json; name RUN, RUN/model or RUN/model-N."
        )
    provider = opened.description.recipe.provider
    known = [one.onnxruntime_name for one in families().values() if one.provider == provider]
    if not known:
        raise UsageError(
            f"{str(folder)!r} is built for the provider {provider!r}, which onnxruntime calls by"
            f" a name that is not known here; known are {', '.join(families())}."
        )
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    try:
        graph = str(config["model"]["decoder"]["filename"])
    except (KeyError, TypeError) as error:
        raise ModelSourceError(
            f"{str(folder / 'genai_config.json')!r} names no graph (model.decoder.filename);"
            " build the model again."
        ) from error
    return PackagedModel(
        folder=folder, description=opened.description, provider=known[0], graph=graph
    )


def _check_together(models: Sequence[PackagedModel]) -> None:
    """Refuse models of which onnxruntime could not choose, or which answer other questions."""
    counts = Counter(model.provider for model in models)
    provider, count = counts.most_common(1)[0]
    if count > 1:
        names = ", ".join(str(m.folder) for m in models if m.provider == provider)
        raise UsageError(
            f"A package has one model per execution provider, since the first would be taken"
            f" whatever the others are; {names} are all for {provider}. Leave all but one out."
        )
    for model in models[1:]:
        theirs, ours = model.description.task, models[0].description.task
        asked = [(t.kind, t.template, t.labels, t.options) for t in (theirs, ours)]
        if asked[0] != asked[1]:
            raise UsageError(
                f"The models of a package answer the same questions, {str(model.folder)!r} is for"
                f" {theirs.kind} with {theirs.template!r}, {str(models[0].folder)!r} for"
                f" {ours.kind} with {ours.template!r}; make a package of each."
            )


def check_package(folder: Path) -> str:
    """Have onnxruntime read the package in ``folder``; return in words what came of it.

    Raises:
        RunError: it refuses the package.
    """
    job = Job(
        name="read the model package",
        entry="autotune.targets.package_child",
        payload={"folder": str(folder.resolve()), "component": PACKAGE_COMPONENT},
        timeout_s=_CHECK_S,
    )
    with LocalExecutor() as executor:
        result = executor.run(job)
    kind, _, message = result.error.partition(": ")
    if kind == "no_reader":
        return f"not read back: 1.32 is the first onnxruntime that reads packages ({message})"
    if result.status != "ok":
        raise RunError(f"onnxruntime does not read the package {str(folder)!r}: {result.error}.")
    chosen = result.value["chosen"]
    ran = f", and made a session of {chosen}" if chosen else ""
    return f"onnxruntime read it: {', '.join(result.value['providers'])}{ran}"
