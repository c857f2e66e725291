"""autotune: search fine-tuning and quantisation of a small language model for one machine.

The package is its folders: ``task`` (data), ``targets`` (hardware), ``passes``
(finetune, merge, build), ``evaluators`` (measurements), ``search`` (what to try)
and ``reports`` (what came out). Importing it does nothing and needs neither
torch nor onnxruntime.

``autotune.tune(...)`` runs a search as the command line does and returns a ``Run``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.api import Model, Run, tune

__all__ = ["Model", "Run", "__version__", "tune"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the library's front door when somebody comes to it."""
    if name in ("Model", "Run", "tune"):
        from autotune import api  # noqa: PLC0415 - importing autotune does nothing

        return getattr(api, name)
    raise AttributeError(f"module 'autotune' has no attribute {name!r}")
