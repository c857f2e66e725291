"""What a run was asked to do, resolved from flags: the one place where defaults live.

A ``RunConfig`` is plain data. It is written to ``run.json`` when a run starts,
and ``autotune resume`` starts from that file alone.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from autotune import demo
from autotune.chain import Chain, Corpus
from autotune.constraint import Constraint, parse_constraint
from autotune.errors import OutputError, UsageError
from autotune.kinds import Kind
from autotune.plain import first_problem, from_plain, to_plain
from autotune.task_flags import TaskFlags
from autotune.trainings import Trainings
from autotune.units import parse_duration, parse_fraction, parse_size

__all__ = [
    "DEMO_BUDGET_S",
    "OWN_DATA_BUDGET_S",
    "SAMPLERS",
    "Bounds",
    "RunConfig",
    "census_config",
    "default_output",
    "prepare_output",
    "resolve_config",
]

SAMPLERS = ("tpe", "nsgaii", "gp", "random", "grid")

DEMO_BUDGET_S = 720.0
OWN_DATA_BUDGET_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Constraint flags as typed; ``resolve`` reads them.

    Attributes:
        maxima: metric to bound as text, for the ``--max-...`` flags that were given.
        min_accuracy: as text, or None.
        general: texts of ``--constraint``.
    """

    maxima: dict[str, str | None] = field(default_factory=dict)
    min_accuracy: str | None = None
    general: tuple[str, ...] = ()

    def resolve(self) -> tuple[Constraint, ...]:
        """Return the constraints, one per metric and direction.

        Raises:
            UsageError: a metric bounded twice in one direction, or an unknown one.
            UnitError: a bound without unit.
        """
        given = {metric: text for metric, text in self.maxima.items() if text is not None}
        found = [self._maximum(metric, text) for metric, text in given.items()]
        if self.min_accuracy is not None:
            bound = parse_fraction(self.min_accuracy, what="--min-accuracy")
            found.append(Constraint(metric="accuracy", op=">=", bound=bound))
        found += [parse_constraint(text) for text in self.general]
        seen: set[tuple[str, str]] = set()
        for constraint in found:
            if (constraint.metric, constraint.op) in seen:
                raise UsageError(
                    f"{constraint.metric} is bounded twice with {constraint.op};"
                    f" leave one of them out (the last one says {constraint})."
                )
            seen.add((constraint.metric, constraint.op))
        return tuple(found)

    def _maximum(self, metric: str, text: str) -> Constraint:
        flag = f"--max-{metric.partition('.')[0]}"
        parse = parse_size if metric in ("memory", "size") else parse_duration
        return Constraint(metric=metric, op="<=", bound=parse(text, what=flag))


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run does.

    Attributes:
        target: ``auto`` or a comma list of target names.
        target_report: hardware report of the machine to search for; None searches for
            this one.
        model: model source (hub id, folder, .gguf, pypi:...).
        data: file or hub data set id.
        template: text with the fields of a row in braces; empty for conversations and for
            plain text as it stands.
        kind: what is asked of the model; None lets the data decide.
        options: columns with the options of a multiple choice.
        metric: how answers are judged; None is the default for the kind.
        extract: regular expression that takes the answer out of generated text.
        chat: ask in the words of the model's chat template.
        truncate: leave out the beginning of prompts that are too long.
        validation_data, test_data: split files of the user's own.
        constraints: bounds that a chosen model meets.
        budget_s: wall time, downloads excluded; None with ``max_trials`` given.
        max_trials: candidates scored at most; None for no such limit.
        seed: of splits, training and search.
        sampler: Optuna sampler by name.
        trainings: which ways of training may be tried.
        recipes: names, or patterns of them, of the ways of building to try; empty takes what
            the targets propose.
        layers: decoder layers that models beside the whole one keep; empty leaves no layer
            out, None lets bounds and census decide.
        trust_remote_code: run Python code that a model repository brings.
        is_demo: the built-in demo was asked for.
        chain: steps that a configuration fixes; None searches.
        corpus: train on whole texts; None trains on answers.
        held_out: share of the distinct prompts that is kept from training, half of it for
            each of the other splits; None is the usual split.
    """

    target: str = "auto"
    target_report: str | None = None
    model: str = demo.MODEL
    data: str = ""
    template: str = demo.TEMPLATE
    kind: Kind | None = None
    options: tuple[str, ...] = ()
    metric: str | None = None
    extract: str | None = None
    chat: bool = False
    truncate: bool = False
    validation_data: str | None = None
    test_data: str | None = None
    constraints: tuple[Constraint, ...] = ()
    budget_s: float | None = DEMO_BUDGET_S
    max_trials: int | None = None
    seed: int = 0
    sampler: str = "tpe"
    trainings: Trainings = field(default_factory=Trainings)
    recipes: tuple[str, ...] = ()
    layers: tuple[int, ...] | None = None
    trust_remote_code: bool = False
    is_demo: bool = True
    chain: Chain | None = None
    corpus: Corpus | None = None
    held_out: float | None = None

    def __post_init__(self) -> None:
        if self.held_out is not None and not 0 < self.held_out < 1:
            raise UsageError(f"The share kept from training is in (0, 1), got {self.held_out!r}.")

    @property
    def data_path(self) -> str:
        """The data file; empty means the demo's, wherever the package is installed."""
        return self.data or str(demo.data_path())

    def save(self, path: Path) -> None:
        """Write ``run.json``."""
        path.write_text(json.dumps(to_plain(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> RunConfig:
        """Read ``run.json``.

        Raises:
            UsageError: the folder is no run, or its file is damaged or cannot be read.
        """
        try:
            return from_plain(cls, json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(
                f"{str(path.parent)!r} is no run folder: it has no {path.name};"
                " name the folder that --output named."
            ) from None
        except OSError as error:
            raise UsageError(
                f"{str(path)!r} cannot be read ({error.strerror}); name a run folder of yours."
            ) from None
        except ValueError as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else error
            raise UsageError(f"{str(path)!r} is damaged ({problem}); start a new run.") from None


def default_output(target: str, *, now: float | None = None) -> Path:
    """Return ``results/<time>-<target>``, with a counter where that exists."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    # A target may name an interpreter, whose path has separators and, on Windows, a colon.
    name = f"{stamp}-{re.sub(r'[^A-Za-z0-9_.+-]', '_', target.replace(',', '+'))}"
    path = Path("results") / name
    count = 1
    while path.exists():
        count += 1
        path = Path("results") / f"{name}-{count}"
    return path


def prepare_output(path: Path) -> None:
    """Make the run folder.

    Raises:
        OutputError: it exists already, or cannot be written.
    """
    try:
        path.mkdir(parents=True)
        (path / "logs").mkdir()
    except FileExistsError:
        raise OutputError(
            f"--output {str(path)!r} exists already and nothing is overwritten;"
            f" choose another name, or go on with it: autotune resume {path}."
        ) from None
    except OSError as error:
        raise OutputError(
            f"--output {str(path)!r} cannot be written ({error.strerror}); choose another folder."
        ) from None


def _refuse_empty(flags: Mapping[str, str | None]) -> None:
    """Refuse ``--data "$UNSET"``: an empty value is no missing flag."""
    for flag, value in flags.items():
        if value is not None and not value.strip():
            raise UsageError(
                f"{flag} needs a value, got {value!r}; give one or leave the flag out."
            )


def _from_anywhere(name: str) -> str:
    """Return the absolute path of what exists here; names on a hub stay as they are.

    A run may be resumed from another folder than it was started in.
    """
    path = Path(name).expanduser()
    try:
        return str(path.absolute()) if path.exists() else name
    except OSError as error:
        raise UsageError(
            f"{name[:60]!r} cannot be looked up as a path ({error.strerror});"
            " check its spelling and permissions."
        ) from None


def census_config(
    *,
    target: str,
    model: str | None,
    data: str | None,
    template: str | None,
    bounds: Bounds,
    seed: int,
    kind: str | None = None,
    task: TaskFlags | None = None,
) -> RunConfig:
    """Return what a census covers: a run's configuration with limits that it does not use.

    Raises:
        UsageError: as ``resolve_config``.
    """
    return resolve_config(
        target=target,
        model=model,
        data=data,
        template=template,
        kind=kind,
        task=task,
        validation_data=None,
        test_data=None,
        bounds=bounds,
        budget=None,
        trials=1,
        sampler="tpe",
        seed=seed,
        layers=(),
        trainings=Trainings(methods=("lora",)),  # nothing is trained
        trust_remote_code=False,
    )


def resolve_config(
    *,
    target: str,
    model: str | None,
    data: str | None,
    template: str | None,
    kind: str | None,
    validation_data: str | None,
    test_data: str | None,
    bounds: Bounds,
    budget: str | None,
    trials: int | None,
    sampler: str,
    seed: int,
    trust_remote_code: bool,
    target_report: str | None = None,
    trainings: Trainings | None = None,
    recipes: tuple[str, ...] = (),
    layers: tuple[int, ...] | None = None,
    task: TaskFlags | None = None,
) -> RunConfig:
    """Return the configuration that the flags ask for.

    Raises:
        UsageError: flags that contradict each other, miss a partner or are empty.
        UnitError: a quantity without unit.
    """
    _refuse_empty(
        {
            "--target": target,
            "--target-report": target_report,
            "--model": model,
            "--data": data,
            "--template": template,
            "--validation-data": validation_data,
            "--test-data": test_data,
        }
    )
    if target_report and target != "auto":
        raise UsageError(
            f"--target-report names the machine and its providers, got --target {target!r} too;"
            " leave one of them out."
        )
    task = task or TaskFlags()
    known_kind = task.resolve(kind, data=data, template=template)
    if not data and (template or validation_data or test_data):
        raise UsageError("--template, --validation-data and --test-data need --data; add it.")
    if sampler not in SAMPLERS:
        raise UsageError(f"--sampler is one of {', '.join(SAMPLERS)}, got {sampler!r}.")
    budget_s = None if budget is None else parse_duration(budget, what="--budget")
    if budget_s is None and trials is None:
        budget_s = OWN_DATA_BUDGET_S if data else DEMO_BUDGET_S
    return RunConfig(
        target=target,
        target_report=_from_anywhere(target_report) if target_report else None,
        model=_from_anywhere(model) if model else demo.MODEL,
        data=_from_anywhere(data) if data else "",
        template=template or ("" if data else demo.TEMPLATE),
        kind=known_kind,
        options=task.columns,
        metric=task.metric,
        extract=task.extract,
        chat=task.chat,
        truncate=task.truncate,
        validation_data=_from_anywhere(validation_data) if validation_data else None,
        test_data=_from_anywhere(test_data) if test_data else None,
        constraints=bounds.resolve(),
        budget_s=budget_s,
        max_trials=trials,
        seed=seed,
        sampler=sampler,
        trainings=trainings or Trainings(),
        recipes=recipes,
        layers=layers,
        trust_remote_code=trust_remote_code,
        is_demo=not data,
    )
