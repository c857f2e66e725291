"""Passes: steps that turn artifacts into artifacts, and the store that keeps them."""

from .architectures import EXPORTABLE, layer_names, read_architecture
from .build import BuildPass, OtherPython
from .contract import Artifact, Pass
from .depth import MINIMUM_LAYERS, CutRule, PrunePass, check_cut, why_not_cut
from .finetune import FinetunePass
from .gguf import ImportGguf
from .heal import HealPass
from .manifest import FileEntry, Manifest, content_digest, read_manifest
from .merge import MergePass
from .model_grids import has_grid, why_not_mixed
from .module_roles import translated
from .produce import Produced, pass_key, produce
from .registry import pass_class, pass_names
from .sources import ModelSource, folder_artifact, resolve_model
from .stack import StackPass
from .store import ArtifactStore, Origin, default_root
from .store_pruning import Stored, chosen_to_go, prune_store, stored_artifacts
from .training_device import training_device
from .wheels import WheelSpec, parse_wheel_spec, unpack_wheel

__all__ = [
    "EXPORTABLE",
    "MINIMUM_LAYERS",
    "Artifact",
    "ArtifactStore",
    "BuildPass",
    "CutRule",
    "FileEntry",
    "FinetunePass",
    "HealPass",
    "ImportGguf",
    "Manifest",
    "MergePass",
    "ModelSource",
    "Origin",
    "OtherPython",
    "Pass",
    "Produced",
    "PrunePass",
    "StackPass",
    "Stored",
    "WheelSpec",
    "check_cut",
    "chosen_to_go",
    "content_digest",
    "default_root",
    "folder_artifact",
    "has_grid",
    "layer_names",
    "parse_wheel_spec",
    "pass_class",
    "pass_key",
    "pass_names",
    "produce",
    "prune_store",
    "read_architecture",
    "read_manifest",
    "resolve_model",
    "stored_artifacts",
    "training_device",
    "translated",
    "unpack_wheel",
    "why_not_cut",
    "why_not_mixed",
]
