"""Where rows come from: a file or a Hugging Face data set id.

Parquet and hub data sets need the libraries of the extra ``train``; they are
imported only when such a source is named. Nothing is fetched for a file.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from autotune.errors import DataError

from .formats import decode, parse_text
from .table import SPLIT_NAMES, Record, SplitName, Table, cell, listing, near

__all__ = ["library", "load_table", "read_file", "split_name"]

_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet")
# Names of files and folders that could not be a hub id: "owner/name", "name", "...:config".
_HUB_ID = re.compile(r"(?P<id>[\w-][\w.-]*(?:/[\w.-]+)?)(?::(?P<config>[\w.-]+))?")
_ALIASES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_MAGIC = {
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"SQLite": "a SQLite file",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
}


def load_table(source: str) -> Table:
    """Return the rows of a json, jsonl, csv or parquet file, or of a hub data set.

    Args:
        source: a path, or a data set id as ``owner/name`` or ``owner/name:config``.

    Raises:
        DataError: missing, unreadable, broken (with file and line) or without rows.
    """
    path = Path(source)
    if path.is_dir():
        raise DataError(f"A data set is a file or a hub id, {source!r} is a folder; name a file.")
    if path.exists():
        return _read_table(path, name=source)
    match = _HUB_ID.fullmatch(source)
    is_file_name = path.suffix and (path.suffix.lower() in _SUFFIXES or _near_file(path))
    if match is None or is_file_name:
        raise DataError(f"There is no data file {source!r}.{_near_file(path)} Check the path.")
    return _read_hub(match["id"], match["config"], name=source)


def split_name(text: str) -> SplitName | None:
    """Return the split that a name means (``val`` is validation), or None."""
    return _ALIASES.get(text.strip().casefold())


def _near_file(path: Path) -> str:
    try:
        siblings = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return near(path.name, siblings)


def read_file(path: Path, *, name: str) -> bytes:
    """Return the bytes of a data file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"The data file {name!r} cannot be read ({error.strerror}); check its permissions."
        ) from error


def _read_table(path: Path, *, name: str) -> Table:
    data = read_file(path, name=name)
    if data.startswith(b"PAR1"):
        return _read_parquet(path, name=name)
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise DataError(
                f"A data file is JSON, JSON Lines, csv or parquet, {name!r} is {what};"
                " unpack or export it."
            )
    return parse_text(decode(data, name=name), name=name)


def library(module: str, *, purpose: str) -> Any:
    """Import ``module``, an optional dependency, or say which extra has it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"{purpose} needs the library {module.partition('.')[0]!r}, which is not installed;"
            " run pip install 'autotune-slm[train]'."
        ) from error


def _read_parquet(path: Path, *, name: str) -> Table:
    arrow = library("pyarrow", purpose="Reading parquet")
    parquet = library("pyarrow.parquet", purpose="Reading parquet")
    try:
        rows = parquet.read_table(path).to_pylist()
    except (arrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"The parquet file {name!r} is damaged ({reason}); write it again."
        ) from error
    return Table(name=name, unit="row", records=tuple(_records(rows)))


def _records(
    rows: Iterable[dict[str, Any]], *, split: SplitName | None = None, first: int = 1
) -> Iterator[Record]:
    for number, row in enumerate(rows, start=first):
        fields = {str(key): cell(value) for key, value in row.items()}
        yield Record(fields=fields, number=number, split=split)


def _read_hub(identifier: str, config: str | None, *, name: str) -> Table:
    datasets = library("datasets", purpose="A Hugging Face data set")
    try:
        loaded = datasets.load_dataset(identifier, config)
    # What datasets and huggingface_hub document: not found or gated and no network are
    # OSErrors, an ambiguous configuration is a ValueError, a loading script a RuntimeError.
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(
            f"{name!r} is neither a file nor a data set that the Hugging Face hub gave"
            f" ({reason}). Check the name, the network and your access, or name a file."
        ) from error
    return hub_table(loaded, datasets.ClassLabel, name=name)


def hub_table(loaded: Any, class_label: Any, *, name: str) -> Table:
    """Return the rows of a ``DatasetDict``; class numbers are replaced by their names.

    Args:
        loaded: split name to ``datasets.Dataset``.
        class_label: ``datasets.ClassLabel``, the feature type with names.
        name: the source, for messages.

    Raises:
        DataError: several splits, none of them named like train, validation or test.
    """
    known = {part: found for part in loaded if (found := split_name(part)) is not None}
    if not known and len(loaded) > 1:
        raise DataError(
            f"A data set has splits named {listing(SPLIT_NAMES)}, {name!r} has"
            f" {listing(sorted(loaded))}; save the one you mean to a file."
        )
    records: list[Record] = []
    for part in known or loaded:
        rows = _with_class_names(loaded[part], class_label)
        first = len(records) + 1
        records.extend(_records(rows, split=known.get(part), first=first))
    unused = sorted(set(loaded) - set(known)) if known else []
    notes = (f"splits not used: {listing(unused)}",) if unused else ()
    return Table(name=name, unit="row", records=tuple(records), notes=notes)


def _with_class_names(dataset: Any, class_label: Any) -> Iterator[dict[str, Any]]:
    names = {
        column: feature.names
        for column, feature in dataset.features.items()
        if isinstance(feature, class_label)
    }
    for row in dataset:
        for column, classes in names.items():
            number = row[column]
            # -1 is how data sets mark a hidden label.
            row[column] = None if number is None or number < 0 else classes[number]
        yield row
