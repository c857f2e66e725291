"""The flags beside ``--task``: what is asked of a model, how its answers are judged."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autotune.errors import UsageError
from autotune.kinds import KINDS, Kind
from autotune.task import answer_rule

__all__ = ["TaskFlags"]


@dataclass(frozen=True, kw_only=True)
class TaskFlags:
    """What goes with ``--task``, as typed.

    Attributes:
        options: columns of the options, separated by commas, or None.
        metric: how answers are judged, or None.
        extract: regular expression, or None.
        chat: ask in the words of the model's chat template.
        truncate: leave out the beginning of prompts that are too long.
    """

    options: str | None = None
    metric: str | None = None
    extract: str | None = None
    chat: bool = False
    truncate: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the options' columns."""
        names = (self.options or "").split(",")
        return tuple(name.strip() for name in names if name.strip())

    def resolve(self, asked: str | None, *, data: str | None, template: str | None) -> Kind | None:
        """Return the kind that ``--task`` asks for, None where the data decide.

        Raises:
            UsageError: flags that contradict each other or miss a partner.
        """
        kind: Kind | None = next((known for known in KINDS if known == asked), None)
        if asked is not None and kind is None:
            raise UsageError(f"--task is one of {', '.join(KINDS)}, got {asked!r}.")
        if self.options is not None and (not self.columns or kind not in (None, "choice")):
            raise UsageError(
                "--options names the columns of a multiple choice, separated by commas, got"
                f" {self.options!r} with --task {asked or 'left out'}; leave one of them out."
            )
        kind = "choice" if self.options else kind
        if kind == "choice" and not self.options:
            raise UsageError(
                "--task choice needs --options, the column with each row's options, or several"
                " columns with one each, separated by commas; add it."
            )
        self._check_data(kind, data=data, template=template)
        self._check_rule(kind)
        return kind

    def _check_data(self, kind: Kind | None, *, data: str | None, template: str | None) -> None:
        if kind == "perplexity" and (self.chat or self.truncate):
            raise UsageError(
                "--chat and --truncate are about prompts, --task perplexity reads plain text in"
                " windows; leave them out."
            )
        needs_data = {
            "--options": self.options,
            "--metric": self.metric,
            "--extract": self.extract,
            "--chat": self.chat,
            "--truncate": self.truncate,
        }
        given = [flag for flag, value in needs_data.items() if value]
        if given and not data:
            raise UsageError(f"{', '.join(given)} is about data of your own; add --data.")
        if data and not template and not self.chat and kind != "perplexity":
            raise UsageError(
                f"--data {data!r} needs --template, which says how a row becomes text;"
                r" for example --template '### Text: {phrase}\n### The tone is:\n{tone}'."
                " Conversations need --chat instead, plain text --task perplexity."
            )

    def _check_rule(self, kind: Kind | None) -> None:
        if kind is not None:
            answer_rule(kind, metric=self.metric, extract=self.extract)
        elif self.extract is not None:
            try:
                re.compile(self.extract)
            except re.error as error:
                raise UsageError(
                    f"--extract is a regular expression, {self.extract!r} is none ({error});"
                    " correct it."
                ) from error
