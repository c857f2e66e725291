"""One spelling for two schemas: the tutorial's of 2024 and Olive 0.13's.

A configuration is cut into parts (the model, each data configuration, each pass, each
system, the engine); wrappers that later versions dropped (``config``, ``params_config``,
``hf_config``) are taken off the names of their fields. Values are left as they are.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from autotune.errors import UsageError

from .families import FAMILIES, RULES, family_of_pass
from .rule import Family, Kind, Rule

__all__ = ["Field", "Part", "Section", "locate", "nearest", "parts_of", "unwrapped"]


class Section(StrEnum):
    """A kind of part; the value is the key that it stands under."""

    TOP = ""
    CLIENT = "azureml_client"
    MODEL = "input_model"
    DATA = "data_configs"
    PASS = "passes"  # noqa: S105 - a key, no password
    SYSTEM = "systems"
    ENGINE = "engine"


_NAMED = (Section.DATA, Section.PASS, Section.SYSTEM)
# Beginnings of names and what they become, again and again until none fits.
_WRAPPERS: Mapping[Section, tuple[tuple[str, str], ...]] = {
    Section.MODEL: (
        ("config.", ""),
        ("hf_config.from_pretrained_args.", "load_kwargs."),
        ("hf_config.model_loading_args.", "load_kwargs."),
        ("hf_config.", ""),
        ("model_path.config.", "model_path."),
    ),
    Section.DATA: (
        ("params_config.component_kwargs.pre_process_data.", "pre_process."),
        ("params_config.component_kwargs.load_dataset.", "load."),
        ("params_config.component_kwargs.dataloader.", "dataloader."),
        ("params_config.", "load."),
        ("load_dataset_config.params.", "load."),
        ("load_dataset_config.", "load."),
        ("load.data_files.config.", "load.data_files."),
        ("pre_process_data_config.params.", "pre_process."),
        ("pre_process_data_config.", "pre_process."),
        ("post_process_data_config.params.", "post_process."),
        ("post_process_data_config.", "post_process."),
        ("dataloader_config.params.", "dataloader."),
        ("dataloader_config.", "dataloader."),
    ),
    Section.PASS: (("config.", ""),),
    Section.SYSTEM: (("config.", ""), ("aml_docker_config.", "docker.")),
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """A value and where it stands.

    Attributes:
        place: the dotted path as it is written.
        value: as its rule reads it, once the part is ``normalised``.
        written: as it is written, for people.
    """

    place: str
    value: Any
    written: Any


@dataclass(kw_only=True)
class Part:
    """A part of a configuration.

    Attributes:
        section: its kind.
        name: the user's, empty where there is one only.
        place: the dotted path.
        fields: by unwrapped name.
    """

    section: Section
    name: str
    place: str
    fields: dict[str, Field] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        """Which rules it is read by.

        Raises:
            UsageError: a pass without a type, or of one that is not run here.
        """
        if self.section is not Section.PASS:
            return FAMILIES[self.section.value]
        kind = self.fields.get("type")
        if kind is None:
            raise UsageError(f"A pass needs a type, {self.place} has none; for example LoRA.")
        return family_of_pass(kind.value, place=kind.place)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a field, ``default`` where it is not given."""
        found = self.fields.get(name)
        return default if found is None else found.value


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest of ``known``, else an empty string."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def unwrapped(section: Section, name: str) -> str:
    """Return the name of a field without its wrappers.

    >>> unwrapped(Section.MODEL, "config.hf_config.from_pretrained_args.trust_remote_code")
    'load_kwargs.trust_remote_code'
    """
    for start, instead in _WRAPPERS.get(section, ()):
        if name.startswith(start):
            return unwrapped(section, instead + name.removeprefix(start))
    return name


def rules_of(section: Section) -> dict[str, Rule]:
    """Return every rule that a part of ``section`` may be read by, by each spelling."""
    families = [f for f in Family if f.value.partition(".")[0] == (section.value or Family.TOP)]
    return {
        spelling: rule
        for family in families
        for rule in RULES[family]
        for spelling in (rule.field, *rule.older)
    }


def locate(path: str) -> tuple[Section, str, str]:
    """Return section, name and unwrapped field of a dotted path.

    >>> locate("passes.lora.config.training_args.max_steps")[1:]
    ('lora', 'training_args.max_steps')
    """
    first, _, rest = path.partition(".")
    if first in _NAMED:
        name, _, rest = rest.partition(".")
        section = Section(first)
        return section, name, unwrapped(section, rest)
    if first and first in {one.value for one in Section}:
        return Section(first), "", unwrapped(Section(first), rest)
    section = Section.ENGINE if first in _engine_words() else Section.TOP
    return section, "", path


def parts_of(document: Mapping[str, Any]) -> list[Part]:
    """Return the parts of a configuration; engine fields at the top level are the engine's.

    Raises:
        UsageError: a part that is no object, an unknown key, a name twice.
    """
    parts: dict[tuple[Section, str], Part] = {}
    for key, node in document.items():
        section, _, _ = locate(key)
        if section is Section.TOP and key not in rules_of(Section.TOP):
            known = [*(one.value for one in Section if one), *rules_of(Section.TOP)]
            raise UsageError(
                f"A configuration has no {key!r} at its top level"
                f"{nearest(key, (*known, *_engine_words())) or '.'}"
            )
        for name, place, inner in _nodes(section, key, node):
            part = parts.setdefault((section, name), Part(section=section, name=name, place=place))
            _fill(part, inner, place)
    return list(parts.values())


def _engine_words() -> set[str]:
    return {name.partition(".")[0] for name in rules_of(Section.ENGINE)}


def _nodes(section: Section, key: str, node: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield name, place and content of every part under a key."""
    if section is Section.TOP or (section is Section.ENGINE and key != section.value):
        yield "", "", {key: node}
        return
    if section not in _NAMED:
        yield "", key, node
        return
    if section is Section.DATA and isinstance(node, list):
        node = _by_name(node, key)
    if node is None:
        return
    if not isinstance(node, dict):
        raise UsageError(f"{key} is an object with a name for each of them, got {node!r:.60}.")
    for name, inner in node.items():
        if inner is not None:  # null leaves it out
            yield name, f"{key}.{name}", _only(inner, f"{key}.{name}")


def _only(node: Any, place: str) -> Any:
    """Return the one alternative of a pass that is written as a list."""
    if not isinstance(node, list):
        return node
    if len(node) != 1:
        raise UsageError(
            f"{place} lists {len(node)} alternatives; name the one to begin with, and let"
            " --search try others."
        )
    return node[0]


def _by_name(configs: list[Any], key: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, config in enumerate(configs):
        name = config.get("name") if isinstance(config, dict) else None
        if not isinstance(name, str) or not name:
            raise UsageError(f"A data configuration has a name, {key}[{number}] has none.")
        if name in found:
            raise UsageError(f"Two data configurations have the name {name!r}; rename one of them.")
        found[name] = config
    return found


def _fill(part: Part, node: Any, place: str) -> None:
    """Add the fields of ``node``, which stands at ``place``."""
    if node is None:
        return
    if not isinstance(node, dict):
        raise UsageError(f"{place} is an object with fields, got {type(node).__name__}.")
    whole = {name for name, rule in rules_of(part.section).items() if rule.kind is Kind.ANY}
    for name, value in _leaves(node, part.section, whole):
        clean = unwrapped(part.section, name)
        where = f"{place}.{name}" if place else name
        if clean in part.fields and part.fields[clean].value != value:
            raise UsageError(
                f"{part.fields[clean].place} and {where} mean the same and differ; leave one out."
            )
        part.fields[clean] = Field(place=where, value=value, written=value)


def _leaves(
    node: Mapping[str, Any], section: Section, whole: set[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values; what a rule takes whole is not opened."""
    for key, value in node.items():
        name = f"{prefix}{key}"
        if section is Section.SYSTEM and key == "accelerators" and isinstance(value, list):
            yield from _accelerators(name, value)
        elif isinstance(value, dict) and value and unwrapped(section, name) not in whole:
            yield from _leaves(value, section, whole, f"{name}.")
        elif value or not _is_container(section, name):
            yield name, value


def _is_container(section: Section, name: str) -> bool:
    """Whether fields stand below ``name``, so that null or nothing there says nothing."""
    inner = unwrapped(section, f"{name}.")
    starts = [start for start, _ in _WRAPPERS.get(section, ())]
    known = [*starts, *rules_of(section)]
    return unwrapped(section, name) not in known and any(k.startswith(inner) for k in known)


def _accelerators(name: str, listed: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of the one accelerator; in early files it is a word."""
    if len(listed) != 1:
        raise UsageError(
            f"A system has one accelerator, {name} lists {len(listed)}; name the one to run on."
        )
    only = {"device": listed[0]} if isinstance(listed[0], str) else listed[0]
    if not isinstance(only, dict):
        raise UsageError(f"An accelerator is an object with a device, {name} has {only!r:.60}.")
    for key, value in only.items():
        yield f"{name}.{key}", value
