"""Pieces in any cut give the text that the whole gives."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.serving import AnswerText, StopText, tidied

# Few letters, so that stop strings and suffixes really occur, whole, in part and overlapping.
_TEXT = st.text("ab. \n", max_size=12)
_PIECES = st.lists(st.text("ab. \n", max_size=4), max_size=8)


def _stopped(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    text = StopText(stops)
    given = "".join(map(text.feed, pieces))
    return given + text.finish(), text.is_stopped


@settings(deadline=None)  # a busy machine is no failure
@given(_PIECES, st.lists(st.text("ab. ", min_size=1, max_size=4), max_size=3))
def test_a_text_ends_before_the_first_stop_string_that_is_complete(
    pieces: list[str], stops: list[str]
) -> None:
    whole = "".join(pieces)
    # Slow and obvious: letter by letter, until a stop string stands at the end.
    for end in range(1, len(whole) + 1):
        if ended := [stop for stop in stops if whole[:end].endswith(stop)]:
            assert _stopped(pieces, stops) == (whole[: end - max(map(len, ended))], True)
            return
    assert _stopped(pieces, stops) == (whole, False)


@settings(deadline=None)
@given(_PIECES, _TEXT)
def test_an_answer_in_pieces_is_tidied_like_the_whole(pieces: list[str], suffix: str) -> None:
    text = AnswerText(suffix)
    given = [text.feed(piece) for piece in pieces]
    assert "".join(given) + text.finish() == tidied("".join(pieces), suffix)


def test_words_are_given_out_as_they_come() -> None:
    text, stops = AnswerText(".\n"), StopText(["###"])
    assert [text.feed(piece) for piece in (" calm", " and", " old", ".", "\n")] == [
        *("calm", " and", " old"),
        *("", ""),
    ]
    assert [stops.feed(piece) for piece in ("one #", "two ##", "#three")] == ["one ", "#two ", ""]
