"""The tables tell the truth: honoured changes the run, mapped does not, refused stops it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune.olive import OliveRequest, Verdict, field_table, read_olive
from autotune.olive.families import RULES
from autotune.olive.rule import Family, Kind, Rule

from .conftest import NEW, Read

ROOT = Path(__file__).parents[2]
_PATHS = {
    Family.TOP: "",
    Family.MODEL: "input_model.",
    Family.DATA: "data_configs.moods.",
    Family.SYSTEM: "systems.here.",
    Family.ENGINE: "engine.",
    Family.LORA: "passes.tune.",
    Family.QLORA: "passes.tune.",
    Family.MERGE: "passes.fold.",
    Family.BUILD: "passes.make.",
    Family.CONVERT: "passes.convert.",
    Family.EXPORT: "passes.make.",
}
_WORDS: dict[Kind, tuple[Any, ...]] = {
    Kind.TEXT: ("rows.jsonl",),  # where a file has to be there, it is
    Kind.WHOLE: (3, 5),
    Kind.NUMBER: (0.5, 0.25),
    Kind.FLAG: (True, False),
    Kind.WORDS: (["a"], ["b", "c"]),
    Kind.ANY: ("word", 7, {"inner": 1}),
}
# Changes that have to show, after those that make room for them.
_SHOWS: dict[tuple[Family, str], tuple[tuple[str, ...], str]] = {
    (Family.MODEL, "model_path"): ((), "owner/name"),
    (Family.MODEL, "model_name"): (
        ("input_model.model_path=null", "input_model.model_name=somebody/model"),
        "owner/name",
    ),
    (Family.MODEL, "load_kwargs.revision"): (("input_model.model_path=owner/name",), "abc"),
    (Family.DATA, "load.data_name"): (
        ("data_configs.moods.load.data_files=null", "data_configs.moods.load.data_name=a/b"),
        "owner/rows",
    ),
    (Family.DATA, "load.data_files"): ((), "olive.json"),
    (Family.DATA, "load.subset"): (
        ("data_configs.moods.load.data_files=null", "data_configs.moods.load.data_name=a/b"),
        "part",
    ),
    (Family.DATA, "pre_process.text_template"): ((), "{line}: {mood}"),
    (Family.DATA, "pre_process.text_cols"): (
        (
            "data_configs.moods.pre_process.text_template=null",
            'data_configs.moods.pre_process.text_cols=["mood", "line"]',
        ),
        '["line", "mood"]',
    ),
    (Family.DATA, "pre_process.strategy"): ((), "line-by-line"),
    (Family.DATA, "pre_process.max_seq_len"): ((), "32"),
    (Family.SYSTEM, "type"): (("systems.here.python_environment_path=env",), "PythonEnvironment"),
    (Family.SYSTEM, "python_environment_path"): (
        ("systems.here.type=PythonEnvironment", "systems.here.python_environment_path=env"),
        "other",
    ),
    (Family.SYSTEM, "accelerators.device"): (
        ("systems.here.accelerators.execution_providers=null",),
        "gpu",
    ),
    (Family.SYSTEM, "accelerators.execution_providers"): (
        ("systems.here.accelerators.device=null",),
        "DmlExecutionProvider",
    ),
    (Family.ENGINE, "execution_providers"): (
        (
            "systems.here.accelerators.device=null",
            "systems.here.accelerators.execution_providers=null",
        ),
        "WebGpuExecutionProvider",
    ),
    (Family.ENGINE, "output_dir"): ((), "somewhere"),
    (Family.ENGINE, "search_strategy"): ((), "true"),
    (Family.ENGINE, "search_strategy.sampler"): (("search_strategy=true",), "random"),
    (Family.ENGINE, "search_strategy.max_samples"): (("search_strategy=true",), "5"),
    (Family.ENGINE, "search_strategy.max_time"): (("search_strategy=true",), "600"),
    (Family.LORA, "type"): ((), "QLoRA"),
    (Family.LORA, "r"): ((), "8"),
    (Family.LORA, "alpha"): ((), "16"),
    (Family.LORA, "lora_dropout"): ((), "0.1"),
    (Family.LORA, "use_rslora"): ((), "true"),
    (Family.LORA, "training_args.lr_scheduler_type"): ((), "linear"),
    (Family.LORA, "training_args.max_grad_norm"): ((), "0.3"),
    (Family.QLORA, "double_quant"): ((), "true"),
    (Family.LORA, "target_modules"): ((), '["up_proj"]'),
    (Family.LORA, "train_data_config"): ((), "winds"),
    (Family.LORA, "eval_data_config"): ((), "winds"),
    (Family.LORA, "eval_dataset_size"): ((), "0.25"),
    (Family.LORA, "training_args.seed"): ((), "8"),
    (Family.LORA, "training_args.per_device_train_batch_size"): ((), "4"),
    (Family.LORA, "training_args.gradient_accumulation_steps"): ((), "2"),
    (Family.LORA, "training_args.max_steps"): ((), "5"),
    (Family.LORA, "training_args.num_train_epochs"): (
        ("passes.tune.training_args.max_steps=null",),
        "2",
    ),
    (Family.LORA, "training_args.learning_rate"): ((), "1e-4"),
    (Family.LORA, "training_args.weight_decay"): ((), "0.1"),
    (Family.LORA, "training_args.warmup_ratio"): ((), "0.2"),
    (Family.LORA, "training_args.warmup_steps"): ((), "1"),
    (Family.BUILD, "precision"): ((), "int8"),
    (Family.BUILD, "int4_block_size"): (("passes.make.precision=int4",), "64"),
    (Family.BUILD, "int4_accuracy_level"): (("passes.make.precision=int4",), "1"),
    (Family.BUILD, "int4_algo_config"): (("passes.make.precision=int4",), "k_quant"),
    (Family.BUILD, "int4_is_symmetric"): (("passes.make.precision=int4",), "false"),
    (Family.BUILD, "enable_cuda_graph"): ((), "true"),
    (Family.CONVERT, "torch_dtype"): (("passes.make=null",), "float16"),
    (Family.EXPORT, "precision"): ((), "int8"),
}
# What is said of one value only shows in that another one is refused; names of systems
# show in the tests of contradictions, the types of passes in that another reads its fields,
# trust in that it opens a point.
_ELSEWHERE = {
    *((Family.ENGINE, name) for name in ("host", "target")),
    (Family.DATA, "name"),
    *((family, "type") for family in (Family.QLORA, Family.MERGE, Family.BUILD)),
    *((family, "type") for family in (Family.CONVERT, Family.EXPORT)),
    (Family.MODEL, "load_kwargs.trust_remote_code"),
    (Family.CONVERT, "merge_adapter_weights"),
}


def _document(family: Family) -> dict[str, Any]:
    document = copy.deepcopy(NEW)
    document["input_model"]["model_path"] = "somebody/model"
    winds = copy.deepcopy(document["data_configs"][0])
    winds["name"] = "winds"
    winds["load_dataset_config"]["data_files"] = "olive.json"
    document["data_configs"].append(winds)
    if family is Family.QLORA:
        document["passes"]["tune"]["type"] = "QLoRA"
    if family is Family.EXPORT:
        document["passes"]["make"]["type"] = "GenAIModelExporter"
    if family is Family.CONVERT:
        build = document["passes"].pop("make")
        document["passes"]["convert"] = {"type": "OnnxConversion"}
        document["passes"]["make"] = build
    return document


def _rules(verdict: Verdict) -> Iterator[tuple[Family, Rule]]:
    for family, rules in RULES.items():
        for rule in rules:
            if rule.verdict is verdict and not rule.is_azure and family is not Family.CLIENT:
                yield family, rule


def _named(rules: Iterable[tuple[Family, Rule]]) -> list[Any]:
    return [pytest.param(family, rule, id=f"{family.name}-{rule.field}") for family, rule in rules]


def _is_narrow(rule: Rule) -> bool:
    """Whether there are values that a rule does not allow."""
    return bool(rule.allowed) and not (rule.kind is Kind.FLAG and len(rule.allowed) > 1)


@pytest.mark.parametrize(
    ("family", "rule"),
    _named(
        (family, rule)
        for family, rule in _rules(Verdict.HONOURED)
        if len(rule.allowed) != 1 and (family, rule.field) not in _ELSEWHERE
    ),
)
def test_what_is_honoured_shows_in_the_run(family: Family, rule: Rule, read: Read) -> None:
    document, path = _document(family), f"{_PATHS[family]}{rule.field}"
    # QLoRA has the fields of LoRA, and a few of its own.
    before, value = _SHOWS.get((family, rule.field)) or _SHOWS[Family.LORA, rule.field]
    first, second = read(document, *before), read(document, *before, f"{path}={value}")
    assert (first.refused, second.refused) == ((), ())
    assert (first.config, first.output) != (second.config, second.output)


@pytest.mark.parametrize(("family", "rule"), _named(_rules(Verdict.MAPPED)))
def test_what_is_mapped_changes_nothing_but_is_said(family: Family, rule: Rule, read: Read) -> None:
    document, path = _document(family), f"{_PATHS[family]}{rule.field}"
    # Whatever a strategy holds, it is one.
    before = ("search_strategy=true",) if rule.field.startswith("search_strategy.") else ()
    plain = read(document, *before)
    for value in rule.allowed or _WORDS[rule.kind]:
        plan = read(document, *before, f"{path}={json.dumps(value)}")
        assert [said.says for said in plan.account if said.place == path] == [rule.says]
        assert plan.refused == ()
        assert plan.config == plain.config


@pytest.mark.parametrize(
    ("family", "rule"),
    _named(
        (family, rule)
        for verdict in (Verdict.HONOURED, Verdict.MAPPED)
        for family, rule in _rules(verdict)
        if _is_narrow(rule)
    ),
)
def test_values_that_a_rule_is_not_about_are_refused(
    family: Family, rule: Rule, read: Read
) -> None:
    others = {
        Kind.FLAG: rule.allowed[0] is False,
        Kind.WHOLE: 77,
        Kind.NUMBER: 0.77,
        Kind.WORDS: ["other"],
    }
    value = others.get(rule.kind, "other")
    path = f"{_PATHS[family]}{rule.field}"
    plan = read(_document(family), f"{path}={json.dumps(value)}")
    assert [said.place for said in plan.refused] == [path]
    assert not rule.is_secret or "other" not in plan.refused[0].value
    assert plan.config is None


@pytest.mark.parametrize(("family", "rule"), _named(_rules(Verdict.REFUSED)))
def test_what_is_refused_stops_the_run_with_its_reason(
    family: Family, rule: Rule, read: Read
) -> None:
    path = f"{_PATHS[family]}{rule.field}"
    plan = read(_document(family), f"{path}={json.dumps(_WORDS[rule.kind][0])}")
    assert [(said.place, said.says) for said in plan.refused] == [(path, rule.says)]
    assert plan.config is None


def test_every_honoured_field_has_its_change_above() -> None:
    honoured = {(family, rule.field) for family, rule in _rules(Verdict.HONOURED)}
    shown = {*_SHOWS, *((Family.QLORA, name) for family, name in _SHOWS if family is Family.LORA)}
    alone = {(f, r.field) for f, r in _rules(Verdict.HONOURED) if len(r.allowed) == 1}
    assert honoured - shown - alone - _ELSEWHERE == set()


def test_a_spelling_means_one_field() -> None:
    for family, rules in RULES.items():
        spellings = [name for rule in rules for name in (rule.field, *rule.older)]
        assert len(spellings) == len(set(spellings)), family


def test_the_document_holds_the_table_of_the_rules() -> None:
    text = (ROOT / "docs" / "olive.md").read_text(encoding="utf-8")
    assert text.partition("<!-- fields -->\n")[2] == field_table()
    rows = re.findall(r"^\| `[^|]+\| (\w+) \|", text, re.MULTILINE)
    assert len(rows) == sum(map(len, RULES.values()))
    assert set(rows) == {verdict.value for verdict in Verdict}


def _leaves(node: Any, place: str = "") -> Iterator[str]:
    """Yield the place of every value that stands in a file, however it is nested."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{place}.{key}" if place else key)
    elif isinstance(node, list) and any(isinstance(one, dict) for one in node):
        for one in node:
            yield from _leaves(one, f"{place}.{one['name']}" if "name" in one else place)
    else:
        yield place


@pytest.mark.parametrize(
    "name",
    [
        "olive-ort-example/phrase-classification.json",
        "docs-configs/olive-config-lora-azureml.json",
        "docs-configs/olive-config-qlora-azureml.json",
        "samuel100-phi-ft/olive_config.json",
    ],
)
def test_every_field_of_the_tutorials_files_is_accounted_for(
    name: str, cookbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cookbook / "olive-ort-example")  # the ancestor's rows are the example's
    path = cookbook / name
    document = json.loads(path.read_text("utf-8"))
    plan = read_olive(OliveRequest(path=path))
    places = [said.place for said in plan.account]
    whole = {said.place for said in plan.account if said.value.startswith("{")}
    missing = [
        leaf
        for leaf in _leaves(document)
        if leaf not in places and not any(leaf.startswith(f"{one}.") for one in whole)
    ]
    assert missing == []
    assert len(places) == len(set(places))
    assert plan.refused == ()
