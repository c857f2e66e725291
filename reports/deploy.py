"""The deploy folder: everything that is needed to run the chosen model, and nothing else.

It is filled beside its place and renamed, so it exists whole or not at all. Weights
are hard links into the artifact store where the file system allows it; small files
are copies, because people edit configurations and an edit must not reach the store.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from autotune.errors import RunError
from autotune.plain import to_plain

from .durable import whole_folder, write_json_atomic
from .hardware_report import HardwareReport
from .model_card import model_card
from .model_folder import DecisionRule, ModelDescription, describe_model
from .model_records import eval_results, provenance
from .run_report import LayersKept, RunReport
from .sums import write_sums

__all__ = ["HARDWARE_FILE", "RUN_SCRIPT", "place_built", "write_model_folder"]

_TEMPLATES = Path(__file__).parent / "templates"
RUN_SCRIPT = _TEMPLATES / "run.py.txt"
# Options come with the question, and are scored whole.
_CHOICE_SCRIPT = _TEMPLATES / "run_choice.py.txt"
HARDWARE_FILE = "hardware.json"
_STORE_MANIFEST = "manifest.json"
_ADAPTER_CONFIG = "adapter_config.json"
_LEAST_LINKED_BYTES = 1 << 20


def write_model_folder(
    target_dir: Path,
    *,
    built_dir: Path,
    adapter_dir: Path | None,
    rule: DecisionRule,
    report: RunReport,
    license_path: Path | None = None,
    layers_kept: LayersKept | None = None,
    hardware: HardwareReport | None = None,
) -> ModelDescription:
    """Write the deploy folder of the model that ``report`` chose; return its description.

    Args:
        target_dir: made by this call; must not exist.
        built_dir: the onnxruntime-genai folder.
        adapter_dir: the peft adapter (safetensors), None for an untrained model.
        rule: how a prompt is made and an answer decided.
        report: of the run.
        license_path: licence text of the base model, copied as LICENSE.
        layers_kept: which layers of the base model it has, None for all.
        hardware: of the machine that the model was chosen for, written as hardware.json.

    Raises:
        OutputError: the folder exists, or the disk is full or cannot be written.
        RunError: ``built_dir`` or ``adapter_dir`` is not what it should be.
        ValueError: the report chose no model.
    """
    with whole_folder(target_dir) as folder:
        description = describe_model(rule, report, layers_kept)
        place_built(built_dir, folder)
        if adapter_dir is not None:
            base = report.model.spec
            _copy_adapter(adapter_dir, folder / "adapter", base_model=base, layers_kept=layers_kept)
        if license_path is not None:
            _copy(license_path, folder / "LICENSE")
        if hardware is not None:
            write_json_atomic(folder / HARDWARE_FILE, to_plain(hardware))
        _describe(folder, description, report)
    return description


def _copy(source: Path, destination: Path) -> None:
    """Copy a file and sync it."""
    shutil.copyfile(source, destination)
    with destination.open("rb+") as file:
        os.fsync(file.fileno())


def _place(source: Path, destination: Path) -> None:
    """Hard-link a large file, copy a small one or one on another file system."""
    if source.stat().st_size >= _LEAST_LINKED_BYTES:
        try:
            destination.hardlink_to(source)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    _copy(source, destination)


def place_built(built_dir: Path, folder: Path) -> None:
    """Put the files of a built model into ``folder``, what the store added left out.

    Large files are hard links where the file system allows it, small ones copies.

    Raises:
        RunError: ``built_dir`` is no built model.
        OSError: the disk is full or refuses.
    """
    if not (built_dir / "genai_config.json").is_file():
        raise RunError(
            f"A built model has a genai_config.json, {str(built_dir)!r} has none; build it again."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(built_dir.rglob("*")):
        name = source.relative_to(built_dir)
        if source.is_dir():
            (folder / name).mkdir()
        elif str(name) != _STORE_MANIFEST:
            _place(source.resolve(), folder / name)


def _copy_adapter(
    adapter_dir: Path, folder: Path, *, base_model: str, layers_kept: LayersKept | None
) -> None:
    """Copy weights and configuration, the latter naming the base model and no path of ours.

    Which of its layers the adapter sits on stands beside them, since the adapter may travel
    without the rest of the folder.
    """
    weights = sorted(adapter_dir.glob("*.safetensors"))
    config_path = adapter_dir / _ADAPTER_CONFIG
    if not weights or not config_path.is_file():
        raise RunError(
            f"An adapter is *.safetensors with {_ADAPTER_CONFIG}, {str(adapter_dir)!r} lacks"
            " them; train it again."
        )
    folder.mkdir()
    for source in weights:
        _place(source, folder / source.name)
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_model
    write_json_atomic(folder / _ADAPTER_CONFIG, config)
    if layers_kept is not None:
        write_json_atomic(folder / "base_layers.json", to_plain(layers_kept))


def _describe(folder: Path, description: ModelDescription, report: RunReport) -> None:
    """Write everything that is about the model, and last the sums of all files."""
    write_json_atomic(folder / "autotune.json", to_plain(description))
    write_json_atomic(folder / "eval_results.json", to_plain(eval_results(report)))
    made = provenance(report, description.layers_kept)
    write_json_atomic(folder / "provenance.json", to_plain(made))
    is_choice = description.task.kind == "choice"
    _copy(_CHOICE_SCRIPT if is_choice else RUN_SCRIPT, folder / "run.py")
    card = model_card(report, fields=description.task.fields, layers_kept=description.layers_kept)
    (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
    write_sums(folder)
