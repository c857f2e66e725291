"""autotune: search fine-tuning and quantisation of a small language model for one machine.

The package is its folders: ``task`` (data), ``targets`` (hardware), ``passes``
(finetune, merge, build), ``evaluators`` (measurements), ``search`` (what to try)
and ``reports`` (what came out). Importing it does nothing and needs neither
torch nor onnxruntime.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
