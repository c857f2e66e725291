from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import DataError
from autotune.task import Template

ROW = {"phrase": "What a day!", "tone": "joy", "two words": "x", "id": "7 "}


@pytest.mark.parametrize(
    ("text", "prompt", "lead", "answer"),
    [
        (
            r"### Text: {phrase}\n### The tone is:\n{tone}",
            "### Text: What a day!\n### The tone is:\n",
            "",
            "joy",
        ),
        ("{phrase} {tone}", "What a day!", " ", "joy"),
        ("{phrase}\t {tone}.\n", "What a day!\t", " ", "joy.\n"),
        ("{phrase}\n  {tone}", "What a day!\n", "  ", "joy"),
        ('{{"q": "{phrase}", "a": "{tone}"}}', '{"q": "What a day!", "a": "', "", 'joy"}'),
        ("{ two words }{two words}: {tone}", "xx:", " ", "joy"),
        ("{id}{tone}", "7", "", "joy"),
        (r"C:\\new {phrase}:{tone}", r"C:\new What a day!:", "", "joy"),
        (r"\d {phrase}:{tone}", r"\d What a day!:", "", "joy"),
    ],
)
def test_prompt_is_all_up_to_the_last_field(text: str, prompt: str, lead: str, answer: str) -> None:
    template = Template.parse(text)
    assert (template.prompt(ROW), template.lead, template.answer(ROW)) == (prompt, lead, answer)
    assert Template.parse(template.text, escapes=False) == template


def test_escapes_are_left_alone_when_asked() -> None:
    assert Template.parse(r"{a}\n{b}", escapes=False).literals == ("", r"\n", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{phrase} {tone", r"got '\{' at character 10"),
        ("{phrase}} {tone}", r"got '\}' at character|has 1"),
        ("} {phrase} {tone}", r"got '\}' at character 1 "),
        ("{} {tone}", r"got '\{\}' at character 1"),
        ("{ } {tone}", r"got '\{ \}' at character 1"),
        ("{tone}", "has 1"),
        ("no field", "has 0"),
        ("{tone} {phrase} {tone}", "'tone' is in .* more than once"),
    ],
)
def test_a_template_that_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Template.parse(text)


def test_an_unknown_field_is_answered_with_those_that_exist() -> None:
    template = Template.parse("{phrase} {Tone}")
    template.check_fields(["Tone", "phrase"], source="data.csv")
    with pytest.raises(
        DataError, match=r"'Tone', 'data.csv' has 'phrase', 'tone'\. Did you .*'tone'"
    ):
        template.check_fields(["phrase", "tone"], source="data.csv")


@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_prompt_lead_and_answer_are_the_filled_template(
    before: str, between: str, after: str, value: str, label: str
) -> None:
    def braces(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    text = f"{braces(before)}{{x}}{braces(between)}{{y}}{braces(after)}"
    template = Template.parse(text, escapes=False)
    row = {"x": value, "y": label}
    whole = template.prompt(row) + template.lead + template.answer(row)
    head = before + value + between
    assert whole == head.rstrip(" ") + template.lead + label + after
    assert not template.prompt(row).endswith(" ")
    if between.strip(" "):
        assert whole == head + label + after
