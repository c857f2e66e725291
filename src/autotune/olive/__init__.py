"""Configurations of Microsoft Olive, read field by field and turned into a run of ours.

Both schemas are read: that of the Phi tutorial of 2024 and Olive 0.13's. Nothing of Olive is
imported, and no field is dropped: each stands in a table with what becomes of it.
"""

from __future__ import annotations

from .account import Said
from .plan import OlivePlan, OliveRequest, read_olive
from .rule import Verdict
from .spelling import Field
from .table import field_table

__all__ = [
    "Field",
    "OlivePlan",
    "OliveRequest",
    "Said",
    "Verdict",
    "field_table",
    "read_olive",
]
