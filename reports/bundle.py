"""bundle.json: builds of a model that are measured on another machine.

Published as ``schemas/bundle-1.0.json``. The folder holds the builds in ``models/`` and
SHA256SUMS beside it. It carries the prompts of the workload, so it is as private as they
are. Requests are the task's rows, spelled out here because a published form stays while
the types inside may change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotune.candidate import Recipe
from autotune.kinds import Kind
from autotune.measurement import Measurement
from autotune.steps import OutcomeStatus

from .documents import load_document
from .run_report import ModelFacts, WorkloadFacts

__all__ = [
    "BUNDLE_FILE",
    "Bundle",
    "BundledRecipe",
    "BundledRequest",
    "BundledRequests",
    "bundled_folder",
    "load_bundle",
]

BUNDLE_FILE = "bundle.json"
# A recipe names a folder, which must not lead out of the bundle.
_FOLDER_NAME = re.compile(r"\w[\w.-]*")


def bundled_folder(recipe: Recipe) -> str:
    """Return where a bundle keeps the build of ``recipe``, with ``/``."""
    return f"models/{recipe.name}"


@dataclass(frozen=True, kw_only=True)
class BundledRequest:
    """One request.

    Attributes:
        prompt: text up to the answer.
        prompt_ids: its token ids.
        reference: index into the labels (classification), or the answer's text.
        answer_ids: token ids of the reference answer, end-of-sequence included.
        options: texts of a multiple choice.
        option_ids: token ids of each option.
    """

    prompt: str
    prompt_ids: tuple[int, ...]
    reference: int | str
    answer_ids: tuple[int, ...]
    options: tuple[str, ...] = ()
    option_ids: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class BundledRequests:
    """The requests to time, with how they are decided.

    Attributes:
        kind: what is asked of the model.
        rows: the requests in order.
        labels: answers as text, classification only.
        label_ids: token ids of each label, end-of-sequence included.
        eos_ids: tokens that end a generation.
        max_new_tokens: limit of a free-running answer.
    """

    kind: Kind
    rows: tuple[BundledRequest, ...]
    labels: tuple[str, ...] = ()
    label_ids: tuple[tuple[int, ...], ...] = ()
    eos_ids: tuple[int, ...] = ()
    max_new_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class BundledRecipe:
    """A recipe, and its build where there is one.

    Attributes:
        recipe: how it is built.
        status: ``measured`` was built and scored, anything else has a reason.
        reason: why there is no build, for people.
        folder: of the build below the bundle, empty where there is none.
        digest: of the names, sizes and contents of its files, likewise.
        metrics: taken on the building machine: accuracy, nll, distortion, size.
    """

    recipe: Recipe
    status: OutcomeStatus
    reason: str = ""
    folder: str = ""
    digest: str = ""
    metrics: dict[str, Measurement]

    def __post_init__(self) -> None:
        is_built = self.status is OutcomeStatus.MEASURED
        if is_built == bool(self.reason) or is_built != bool(self.digest):
            raise ValueError(f"a recipe is built or has a reason, got {self.recipe.name!r}")
        if not _FOLDER_NAME.fullmatch(self.recipe.name):
            raise ValueError(f"a recipe's name is that of a folder, got {self.recipe.name!r}")
        if self.folder != (bundled_folder(self.recipe) if is_built else ""):
            raise ValueError(f"a build lies under its recipe's name, got {self.folder!r}")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What a census on another machine needs to know.

    Attributes:
        schema: names the document.
        schema_version: of this form.
        created: UTC time, RFC 3339.
        command: that made it, credentials replaced.
        device: the machine that built it, in a few words.
        versions: of the libraries that built it.
        seed: of workload, order and bootstrap.
        model: the base model.
        workload: the requests as reports name them.
        requests: the requests themselves.
        requests_per_block: timed per fresh process.
        recipes: all that were tried, distinct.
    """

    schema: Literal["autotune.bundle"] = "autotune.bundle"
    schema_version: Literal["1.0"] = "1.0"
    created: str
    command: tuple[str, ...]
    device: str
    versions: dict[str, str]
    seed: int
    model: ModelFacts
    workload: WorkloadFacts
    requests: BundledRequests
    requests_per_block: int
    recipes: tuple[BundledRecipe, ...]

    def __post_init__(self) -> None:
        names = [one.recipe.name for one in self.recipes]
        if len(set(names)) != len(names):
            raise ValueError(f"the recipes of a bundle are distinct, got {names!r}")
        if self.requests_per_block < 1 or not self.requests.rows:
            raise ValueError("a bundle has at least one request to time, and per process")


def load_bundle(folder: Path) -> Bundle:
    """Return what the bundle ``folder`` says about itself; its files are not looked at.

    Raises:
        UsageError: bundle.json is missing, damaged or of another version.
    """
    return load_document(folder / BUNDLE_FILE, Bundle)
