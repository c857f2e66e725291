"""A real adapter of the tiny model and a real deploy folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.reports import DecisionRule, build_report, write_model_folder
from autotune.task import Template, decision_plan

from .record import context, events

# Three of the four begin with the same letters, two with the same word.
LABELS = ("joy", "sadness", "sad surprise", "sad surprises")
TEMPLATE = "### Text: {phrase}\n### Tone: {tone}"


@pytest.fixture(scope="session")
def adapter_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A peft adapter as the finetune pass leaves it: safetensors and a configuration."""
    import peft  # noqa: PLC0415 - heavy, only for tests of the folder
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - same

    folder = tmp_path_factory.mktemp("adapter")
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        # peft 0.21 reads an attribute that transformers 5.23 deprecates.
        warnings.simplefilter("ignore", FutureWarning)
        peft.get_peft_model(model, config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def classification_rule(tiny_model_dir: Path) -> DecisionRule:
    """Labels with the token ids that the tiny tokenizer gives them."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - with the tiny model only

    tokenizer = Tokenizer.from_file(str(tiny_model_dir / "tokenizer.json"))
    template = Template.parse(TEMPLATE)
    ids = tuple((*tokenizer.encode(template.lead + label).ids, 0) for label in LABELS)
    return DecisionRule(
        kind="classification",
        template=template.text,
        literals=template.literals,
        fields=template.fields,
        labels=LABELS,
        label_ids=ids,
        nodes=decision_plan(ids).nodes,
        eos_ids=(0,),
    )


@pytest.fixture
def deploy(
    tmp_path: Path, tiny_built_dir: Path, adapter_dir: Path
) -> Callable[[DecisionRule], Path]:
    """Write a deploy folder for a rule and return it."""

    def write(rule: DecisionRule) -> Path:
        report = build_report(context(kind=rule.kind), events())
        target = tmp_path / "model"
        write_model_folder(
            target, built_dir=tiny_built_dir, adapter_dir=adapter_dir, rule=rule, report=report
        )
        return target

    return write
