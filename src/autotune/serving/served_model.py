"""The model that a person names: found, checked file by file, and ready to be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.errors import DataError, ModelSourceError, UsageError
from autotune.measured_folder import ModelFolder, open_folder
from autotune.reports import ModelDescription, ShippedTask
from autotune.run_folders import RESULTS, find_run, read_run
from autotune.targets import families, family_named, libraries_script
from autotune.task import ChatTemplate, Encoder, Message, Template, added_beginning

from .engine import ModelPlace
from .question import Question, QuestionError, ask_raw, ask_text

__all__ = ["Conversation", "ServedModel", "find_model", "open_model"]

_CONFIG = "genai_config.json"
_RUN = "run.json"


def find_model(name: str | None) -> Path:
    """Return the model folder that a person means.

    Args:
        name: a model folder, a run folder with a ``model/``, the name of one below
            ``results/``, or None for the latest run.

    Raises:
        UsageError: there is no such folder, no model in it, or no run.
    """
    path = find_run(name)
    if (path / _CONFIG).is_file():
        return path
    if (path / "model" / _CONFIG).is_file():
        return path / "model"
    if (path / _RUN).is_file():
        run = read_run(path)
        raise UsageError(
            f"The run {str(path)!r} has no model/: it is {run.state}. `autotune show {path}` says"
            f" more, `autotune export {path} --trial N` makes a folder of any of its models."
        )
    what = "is no folder" if not path.is_dir() else f"has no {_CONFIG}, and no model/ with one"
    raise UsageError(
        f"A model folder has a {_CONFIG}, {str(path)!r} {what}; name RUN, RUN/model or a name below"
        f" {str(RESULTS)!r} (`autotune ls`)."
    )


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Conversations in the words of a model's chat template; make it with ``load``.

    Attributes:
        template: of the model folder.
        begin: text that the tokenizer adds by itself.
    """

    template: ChatTemplate
    begin: str = ""

    @classmethod
    def load(cls, folder: ModelFolder) -> Conversation | None:
        """Return that of a model folder; None where it has no chat template.

        Raises:
            UsageError: jinja2 is not installed.
        """
        from tokenizers import Tokenizer  # noqa: PLC0415 - only chats need it

        try:
            template = ChatTemplate.load(folder.path)
        except ModelSourceError:
            return None
        except DataError as error:
            raise UsageError(
                f"{str(folder.path)!r} is asked in its chat template, for which jinja2 is needed:"
                ' pip install "autotune-slm[serve]".'
            ) from error
        file = folder.path / "tokenizer.json"
        if not file.is_file():  # no way to know what is added: taken as it is written
            return cls(template=template)
        encoder = Encoder(tokenizer=Tokenizer.from_file(str(file)), eos_ids=folder.eos_ids)
        return cls(template=template, begin=added_beginning(template, encoder))

    def prompt(self, messages: Sequence[Message]) -> str:
        """Return the conversation up to the model's turn.

        Raises:
            DataError: the template refuses these turns.
        """
        return self.template.prompt(messages).removeprefix(self.begin)

    def opening(self) -> str:
        """Return the text before what a user says first, where nothing was said to the system.

        Raises:
            DataError: the template changes what is said.
        """
        return self.template.around()[0].removeprefix(self.begin)


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model folder with all that is needed to ask it; make it with ``open_model``.

    Attributes:
        folder: checked.
        place: what the engine loads.
        conversation: of models that are asked in their chat template.
    """

    folder: ModelFolder
    place: ModelPlace
    conversation: Conversation | None = None

    @property
    def name(self) -> str:
        """Name that clients ask for."""
        return self.folder.name

    @property
    def description(self) -> ModelDescription | None:
        """What autotune says of it, if autotune made it."""
        return self.folder.description

    @property
    def task(self) -> ShippedTask | None:
        """What it was tuned for."""
        return self.description.task if self.description else None

    def turn(self, messages: Sequence[Message], *, options: Sequence[str] = ()) -> Question:
        """Return the question that a conversation ends with.

        Of a model that was tuned on single questions that is the last message alone; what was
        said before is no part of its task.

        Raises:
            QuestionError: the last turn is not the user's, a system message where the model
                was tuned without, or a question that does not fit the task.
            DataError: the chat template refuses these turns.
        """
        if not messages or messages[-1].role != "user":
            raise QuestionError(
                "A conversation ends with what the user says, got"
                f" {messages[-1].role if messages else 'no message'!r} at its end.",
                parameter="messages",
            )
        task, said = self.task, messages[-1].content
        if self.conversation is None or (task is not None and not task.is_chat):
            self._refuse_system(messages)
            return ask_text(task, said, options=options)
        if task is None:
            return ask_raw(self.conversation.prompt(messages))
        alone = ask_text(task, said, options=options)
        if len(messages) == 1:  # as it was tuned and measured
            return alone
        turns = [
            replace(one, content=_filled(task, one.content)) if one.role == "user" else one
            for one in messages
        ]
        prompt = self.conversation.prompt(turns)
        opening = self.conversation.opening()
        if turns[0].role == "user" and prompt.startswith(opening):
            # With the system turn that all training rows had, which the task's own text brings.
            prompt = _opening(task) + prompt[len(opening) :]
        return replace(alone, prompt=prompt)

    def _refuse_system(self, messages: Sequence[Message]) -> None:
        for one in messages:
            if one.role in ("system", "developer"):
                raise QuestionError(
                    "This model is asked by its template alone, so a message of the role"
                    f" {one.role!r} would be ignored, got {one.content[:60]!r}; leave it out.",
                    parameter="messages",
                )


def _opening(task: ShippedTask) -> str:
    """Return the chat's words before the first question, as the model was tuned."""
    lead = Template.parse(task.template, escapes=False).literals[0].lstrip()
    return task.prompt[0].removesuffix(lead)


def _filled(task: ShippedTask, text: str) -> str:
    """Return what the user says for ``text``: the task's template without the chat's words."""
    if len(task.fields) != 1:  # it was given whole
        return text
    return Template.parse(task.template, escapes=False).prompt({task.fields[0]: text}).strip()


def open_model(path: Path, *, target: str | None = None) -> ServedModel:
    """Return the model in ``path``, its files compared with their sums.

    Args:
        path: of the folder.
        target: where it runs: ``cuda@/path/to/python``; None is what it was built for, in
            this interpreter.

    Raises:
        ModelSourceError: no model folder.
        UsageError: a damaged autotune.json, an unknown target, or a chat without jinja2.
        StoreError: a file differs from SHA256SUMS.
    """
    folder = open_folder(path)
    built_for = folder.description.recipe.provider if folder.description else "cpu"
    word, _, interpreter = (target or "").partition("@")
    provider = family_named(word, families().values()).provider if word else built_for
    if folder.description is not None and provider != built_for:
        raise UsageError(
            f"{str(path)!r} is built for the provider {built_for!r}, --target {target!r} is"
            f" {provider!r}; leave it out, or name another interpreter: NAME@PYTHON."
        )
    task = folder.description.task if folder.description else None
    return ServedModel(
        folder=folder,
        place=ModelPlace(
            folder=path,
            provider=provider,
            interpreter=interpreter,
            libraries=libraries_script(provider),
            context_length=folder.context_length,
        ),
        conversation=Conversation.load(folder) if task is None or task.is_chat else None,
    )
