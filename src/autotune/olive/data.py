"""What a data configuration is here: a source, a template, and how sequences are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.azureml import is_of_azure
from autotune.chain import Corpus, Strategy
from autotune.errors import UsageError

from .places import found_file
from .spelling import Part, nearest

__all__ = ["Rows", "named_data", "read_rows"]

_FILES = ("json", "csv", "text", "parquet")
_DEFAULT_TOKENS = 1024  # Olive's


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows and how they become text.

    Attributes:
        source: absolute path of a file, or a hub id.
        template: as ``--template`` takes it.
        corpus: how training sequences are made.
    """

    source: str
    template: str
    corpus: Corpus


def named_data(name: str, parts: Sequence[Part], *, place: str) -> Part:
    """Return the data configuration of that name.

    Raises:
        UsageError: there is none.
    """
    for part in parts:
        if name in (part.name, part.get("name")):
            return part
    known = [part.name for part in parts]
    raise UsageError(
        f"{place} names the data configuration {name!r}, there are {', '.join(known) or 'none'}"
        f"{nearest(name, known) or '.'}"
    )


def read_rows(part: Part, folder: Path) -> Rows:
    """Return the rows of a data configuration.

    Args:
        part: in today's spelling.
        folder: of the configuration.

    Raises:
        UsageError: no source, more files than one, or no way from a row to a text.
    """
    return Rows(source=_source(part, folder), template=_template(part), corpus=_corpus(part))


def _source(part: Part, folder: Path) -> str:
    name, files = part.get("load.data_name"), part.get("load.data_files", ())
    if part.get("load.data_files.type") or any(is_of_azure(file) for file in files):
        field = "load.data_files.type" if part.get("load.data_files.type") else "load.data_files"
        place = part.fields[field].place.removesuffix(".type")
        raise UsageError(
            f"{place} lies in a datastore of Azure ML; for a run here name a file,"
            f" --set {part.place}.load_dataset_config.data_files=PATH."
        )
    if not files:
        if name in (None, *_FILES):
            raise UsageError(f"{part.place} names no rows; give it data_files or a hub data set.")
        subset = part.get("load.subset")
        return f"{name}:{subset}" if subset else str(name)
    if name not in (None, *_FILES):
        raise UsageError(f"{part.place} names the data set {name!r} and files; leave one out.")
    if len(files) > 1:
        raise UsageError(f"{part.place} names {len(files)} files; put the rows into one.")
    return found_file(files[0], folder, place=part.fields["load.data_files"].place)


def _template(part: Part) -> str:
    text = part.get("pre_process.text_template")
    columns = part.get("pre_process.text_cols", ())
    if text is None:
        if not columns:
            raise UsageError(
                f"{part.place} says nowhere how a row becomes text; give it a text_template,"
                r" for example '{question}\n{answer}'."
            )
        braced = (column.replace("{", "{{").replace("}", "}}") for column in columns)
        text = " ".join(f"{{{column}}}" for column in braced)
    # A command line writes a line break as two letters; here it is one already.
    return str(text).replace("\\", "\\\\")


def _corpus(part: Part) -> Corpus:
    return Corpus(
        strategy=Strategy(part.get("pre_process.strategy", Strategy.JOIN)),
        max_tokens=part.get("pre_process.max_seq_len", _DEFAULT_TOKENS),
    )
