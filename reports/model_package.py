"""ONNX Runtime's model package: one folder, a whole model per execution provider.

``manifest.json`` names the component, ``model/component.json`` its variants; ONNX Runtime
1.32 reads both, takes the variant whose provider it is configured for and makes a session
of it. Each variant is a deploy folder as it was exported, with its own sums, because
onnxruntime-genai 0.18 reads no packages: its users name the variant's folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.units import format_quantity

from .deploy import place_built
from .durable import whole_folder, write_json_atomic
from .model_folder import ModelDescription
from .sums import write_sums

__all__ = ["COMPONENT", "PackagedModel", "write_model_package"]

COMPONENT = "model"
_SCHEMA_VERSION = "1.0"  # of the manifest, as onnxruntime 1.32 reads it
_SHOWN = ("accuracy", "latency.p95", "memory", "size")


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A deploy folder on its way into a package.

    Attributes:
        folder: of the model, checked.
        description: what it says about itself.
        provider: execution provider in the spelling of onnxruntime.
        graph: file of the ONNX graph in the folder.
    """

    folder: Path
    description: ModelDescription
    provider: str
    graph: str

    @property
    def variant(self) -> str:
        """Name of its variant and of its folder: that of the recipe."""
        return self.description.recipe.name


def write_model_package(target_dir: Path, models: Sequence[PackagedModel]) -> None:
    """Write the package of ``models``, one per provider.

    Args:
        target_dir: made by this call; must not exist.
        models: of one task, each for another provider; the first speaks for the package.

    Raises:
        OutputError: the folder exists, or the disk is full or cannot be written.
    """
    with whole_folder(target_dir) as folder:
        (folder / COMPONENT).mkdir()
        for model in models:
            place_built(model.folder, folder / COMPONENT / model.variant)
        write_json_atomic(folder / COMPONENT / "component.json", _component(models))
        write_json_atomic(folder / "manifest.json", _manifest(target_dir.name, models))
        text = _readme(target_dir.name, models)
        (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
        write_sums(folder)


def _manifest(name: str, models: Sequence[PackagedModel]) -> Mapping[str, Any]:
    bases = dict.fromkeys(model.description.base_model.spec for model in models)
    return {
        "schema_version": _SCHEMA_VERSION,
        "layout": "portable",
        "package_name": name,
        "description": f"{models[0].description.task.kind}, tuned by autotune from"
        f" {', '.join(bases)}",
        "components": {COMPONENT: COMPONENT},
    }


def _component(models: Sequence[PackagedModel]) -> Mapping[str, Any]:
    variants = {
        model.variant: {
            "variant_directory": model.variant,
            "ep": model.provider,
            "executor_info": {"ort": {"model_file": model.graph}},
            "additional_metadata": {"autotune": _facts(model.description)},
        }
        for model in models
    }
    return {"component_name": COMPONENT, "variants": variants}


def _facts(description: ModelDescription) -> Mapping[str, Any]:
    """Return what a reader of the package needs to choose: name, machine, numbers."""
    metrics = {
        name: {"value": metric.value, "unit": metric.unit}
        for name, metric in description.metrics.items()
        if name in _SHOWN
    }
    return {"name": description.name, "device": description.device, "metrics": metrics}


def _readme(name: str, models: Sequence[PackagedModel]) -> str:
    rows = "\n".join(
        f"| `{COMPONENT}/{model.variant}` | {model.provider} | {_numbers(model.description)} |"
        f" {model.description.device} |"
        for model in models
    )
    first = models[0].variant
    return f"""# {name}: a model per execution provider

| folder | execution provider | measured | on |
|---|---|---|---|
{rows}

An ONNX Runtime model package (`manifest.json`, schema {_SCHEMA_VERSION}). ONNX Runtime 1.32 takes
the variant for its provider:

```python
import onnxruntime as ort

options = ort.SessionOptions()
package = ort.ModelPackageContext("{name}")
chosen = package.select_component("{COMPONENT}", ort.ModelPackageOptions(options))
session = chosen.create_session()
```

onnxruntime-genai 0.18 reads no packages. Each folder is whole: `python {COMPONENT}/{first}/run.py`,
`autotune serve {COMPONENT}/{first}`. Its README has the numbers, the limits and the licence.
"""


def _numbers(description: ModelDescription) -> str:
    return ", ".join(
        f"{name} {format_quantity(metric.value, metric.unit)}"
        for name, metric in description.metrics.items()
        if name in _SHOWN
    )
