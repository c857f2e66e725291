from __future__ import annotations

import contextlib
import csv
import io
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import DataError
from autotune.task.formats import decode, parse_text
from autotune.task.table import Table

PHRASE = "It's fine, really; a café"
CSV = f'phrase,tone\n"{PHRASE}",joy\nnothing here,fear\n'


def read(data: bytes) -> Table:
    return parse_text(decode(data, name="data"), name="data")


def pairs(table: Table) -> list[tuple[object, object]]:
    return [(record.fields["phrase"], record.fields["tone"]) for record in table.records]


EXPECTED = [(PHRASE, "joy"), ("nothing here", "fear")]
AS_OBJECTS = [dict(zip(("phrase", "tone"), pair, strict=True)) for pair in EXPECTED]


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        CSV.replace("\n", "\r\n"),
        CSV.replace("\n", "\r"),
        CSV + "\n\n",
        "\n" + CSV,
        f'sep=;\nphrase;tone\n"{PHRASE}";joy\nnothing here;fear\n',
        f'phrase;tone\n"{PHRASE}";joy\nnothing here;fear',
        f"phrase\ttone\n{PHRASE}\tjoy\nnothing here\tfear\n",
        f"phrase|tone\n{PHRASE}|joy\nnothing here|fear\n",
        f'phrase, tone\n"{PHRASE}", "joy"\n"nothing here", "fear"\n',
        json.dumps(AS_OBJECTS),
        json.dumps(AS_OBJECTS, indent=2),
        json.dumps({"version": 1, "data": AS_OBJECTS}),
        "\n".join(json.dumps(row) for row in AS_OBJECTS),
        "\r\n".join(json.dumps(row, ensure_ascii=False) for row in AS_OBJECTS) + "\r\n\r\n",
    ],
)
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_every_form_in_every_encoding_gives_the_same_rows(text: str, encoding: str) -> None:
    assert pairs(read(text.encode(encoding))) == EXPECTED


def test_a_line_separator_inside_json_text_ends_no_row() -> None:
    line = json.dumps({"phrase": "one\u2028two\x85three", "tone": "joy"}, ensure_ascii=False)
    assert pairs(read(f"{line}\n{line}".encode())) == [("one\u2028two\x85three", "joy")] * 2


def test_numbers_and_booleans_keep_the_spelling_of_the_file() -> None:
    table = read(b'{"phrase": 1.50, "tone": true}\n{"phrase": 7, "tone": NaN}\n')
    assert pairs(table) == [("1.50", "true"), ("7", None)]


def test_a_line_break_in_quotes_does_not_shift_the_line_numbers() -> None:
    table = read(b'phrase,tone\n"a\nb",joy\nc,fear\n')
    assert pairs(table) == [("a\nb", "joy"), ("c", "fear")]
    assert [record.number for record in table.records] == [2, 4]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n ", "is empty"),
        (b"[]", "has none"),
        (b"phrase,tone\n", "has none"),
        (b"phrase,tone\na,b\nc\xe9,d\n", "line 3, has the byte 0xe9, which is not UTF-8"),
        (b"phrase,tone\na,b\0\n", "line 2, has a zero byte"),
        (b'{"a": 1}\n{"a": 2\n{"a": 3}\n', "line 2, cannot be read as JSON"),
        (b'[{"a": 1},\n {"a": 2}\n {"a": 3}]', "line 3, cannot be read as JSON"),
        (b'{"a": 1}\n[1, 2]\n', r"line 2, is \['1', '2'\]"),
        (b"[1, 2]", "row 1, is '1'"),
        (b'{"a": {"0": 1}, "b": {"0": 2}}', "is neither"),
        (b"[" * 100_000, "nested too deeply"),
        (b"phrase,tone\na,b\nc,d,e\n", r"header \(2\); data, line 3, has 3"),
        (b'phrase,tone\na,b\n"c,d\ne,f\n', "line 3, cannot be read as separated values"),
        (b"phrase,tone,tone\na,b,c\n", "has 'tone' more than once"),
        (b"just a sentence\nand another\n", "no header of two or more columns"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(data)


words = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(
    lambda text: text.strip() != ""
)


@given(
    st.lists(st.tuples(words, words), min_size=1, max_size=8),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_a_csv_writer_writes_is_read_back(
    rows: list[tuple[str, str]], delimiter: str, encoding: str
) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("phrase", "tone"), *rows])
    assert pairs(read(buffer.getvalue().encode(encoding))) == rows


@given(st.lists(st.tuples(words, words), min_size=1, max_size=8), st.booleans())
def test_what_json_writes_is_read_back(rows: list[tuple[str, str]], is_lines: bool) -> None:
    objects = [{"phrase": phrase, "tone": tone} for phrase, tone in rows]
    text = "\n".join(map(json.dumps, objects)) if is_lines else json.dumps(objects)
    assert pairs(read(text.encode())) == rows


@given(st.text(alphabet=string.printable + "é\u2028"))
def test_no_text_ends_in_anything_but_rows_or_a_data_error(text: str) -> None:
    with contextlib.suppress(DataError):
        assert read(text.encode()).records
