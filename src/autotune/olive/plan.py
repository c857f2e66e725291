"""A configuration read whole: its account, what is missing in it, and the run that it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune.azureml import JobRequest
from autotune.config import OWN_DATA_BUDGET_S, RunConfig
from autotune.constraint import Constraint
from autotune.errors import UsageError
from autotune.trainings import Trainings

from .account import Said, gaps, judged, normalised
from .azure import JobFlags, job_request
from .data import Rows, named_data, read_rows
from .document import read_document
from .markers import foreign_marks, without_marks
from .overrides import with_overrides
from .places import found_model, looked_up
from .rule import Verdict
from .spelling import Field, Part, Section, parts_of
from .steps import chain_of, defaults_said, trained_by
from .systems import chosen_system, target_of

__all__ = ["OlivePlan", "OliveRequest", "read_olive"]

_OF_SYSTEM = ("host", "target", "execution_providers")
_SAMPLERS = {"sequential": "grid"}
_SCRIPTS = ("model_script", "script_dir", "user_script", "pre_process.user_script")
_NO_FLAG = (
    "it runs Python code that the model's repository brings; give --trust-remote-code as well,"
    " or take it out"
)


@dataclass(frozen=True, kw_only=True)
class OliveRequest:
    """A configuration and the flags that go before it.

    Attributes:
        path: the file.
        sets: ``PATH=VALUE`` of each ``--set``.
        on: where a job runs, in the words of ``--on``; None leaves that to the system.
        target: takes the place of systems and engine; None leaves them.
        model: takes the place of the input model; None leaves it.
        is_search: values that the file fixes are where a search begins.
        trust_remote_code: the flag that a file's own word needs beside it.
        constraints: bounds.
        budget_s, max_trials: limits of a search.
    """

    path: Path
    sets: tuple[str, ...] = ()
    on: str | None = None
    target: str | None = None
    model: str | None = None
    is_search: bool = False
    trust_remote_code: bool = False
    constraints: tuple[Constraint, ...] = ()
    budget_s: float | None = None
    max_trials: int | None = None


@dataclass(frozen=True, kw_only=True)
class OlivePlan:
    """What a configuration comes to.

    Attributes:
        account: every field with what becomes of it, in the file's order.
        notes: what else is worth a line.
        gaps: Azure fields that still say what to write there.
        config: the run; None where fields are refused for good, or it is Azure's.
        job: what Azure ML is asked to run; None for a run here.
        output: folder of the run; None leaves it to the default.
    """

    account: tuple[Said, ...]
    notes: tuple[str, ...] = ()
    gaps: tuple[Field, ...] = ()
    config: RunConfig | None = None
    job: JobRequest | None = None
    output: Path | None = None

    @property
    def refused(self) -> tuple[Said, ...]:
        """Fields that stop the run for good."""
        return tuple(
            said for said in self.account if said.verdict is Verdict.REFUSED and not said.is_open
        )

    @property
    def open_points(self) -> tuple[str, ...]:
        """What has to be given before a run, a line each."""
        missing = [f"{said.place}: {said.says}" for said in self.account if said.is_open]
        return (*missing, *(f"{gap.place}: still says {gap.written!r}" for gap in self.gaps))


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The parts of a configuration by what they are, in today's spelling."""

    all: tuple[Part, ...]

    def one(self, section: Section) -> Part | None:
        return next(iter(self.many(section)), None)

    def many(self, section: Section) -> list[Part]:
        return [part for part in self.all if part.section is section]


def read_olive(request: OliveRequest) -> OlivePlan:
    """Return what the configuration of ``request`` comes to; runs nothing.

    Raises:
        UsageError: no such file, unknown fields or passes, or parts that contradict each
            other; refused fields stand in the plan's account.
    """
    raw = with_overrides(parts_of(read_document(request.path)), request.sets)
    parts = _Parts(all=tuple(normalised(part) for part in raw))
    _check_parts(parts, request)
    engine = parts.one(Section.ENGINE)
    system = None
    if request.target is None or request.on is not None:
        system = chosen_system(engine, parts.many(Section.SYSTEM))
    account = tuple(
        said
        for part in parts.all
        for said in _judged(part, request, instead=_instead(part, parts, system, request))
    )
    output = engine.get("output_dir") if engine else None
    plan = OlivePlan(account=account, output=Path(output) if output else None)
    if plan.refused:  # a job would carry what is refused, and a token with it
        return plan
    used = [p for p in parts.all if not _instead(p, parts, system, request)]
    if _is_remote(system, request):
        flags = JobFlags(
            on=request.on,
            model=request.model,
            target=request.target or _target_there(system, engine),
            words=_flags(request),
        )
        job = job_request(system, used, path=request.path, flags=flags)
        return replace(plan, gaps=tuple(gaps(used)), job=job, notes=job.notes)
    config, notes = _config(parts, request, system)
    return replace(plan, config=config, notes=notes)


def _is_remote(system: Part | None, request: OliveRequest) -> bool:
    """Whether the run is a job of Azure ML."""
    return request.on is not None or (system is not None and system.get("type") == "AzureML")


def _target_there(system: Part | None, engine: Part | None) -> str:
    """Return the target of a job; a system of Azure ML's that says nothing has a GPU."""
    if system is None or not any(name.startswith("accelerators.") for name in system.fields):
        return "cuda"
    return target_of(system, engine)


def _check_parts(parts: _Parts, request: OliveRequest) -> None:
    if not parts.many(Section.PASS):
        raise UsageError(
            f"A configuration has passes, {str(request.path)!r} has none; add for example one of"
            " the type LoRA."
        )
    if parts.one(Section.MODEL) is None and request.model is None:
        raise UsageError(
            f"A configuration has an input_model, {str(request.path)!r} has none; add it, or name"
            " one with --model."
        )


def _instead(part: Part, parts: _Parts, system: Part | None, request: OliveRequest) -> str:
    """Return what takes the place of a part, or an empty string where it counts."""
    if part.section is Section.SYSTEM:
        if request.target is not None and request.on is None:
            return f"--target {request.target} takes its place"
        if system is not None and part.name != system.name:
            return f"not used: the run is on {system.name!r}"
    if part.section is Section.MODEL and request.model is not None:
        return f"--model {request.model} takes its place"
    if part.section is Section.CLIENT and not _is_remote(system, request):
        return "not used: the run is on no system of the type AzureML"
    if part.section is Section.DATA:
        training = trained_by(parts.many(Section.PASS))
        named = (
            [training.get("train_data_config"), training.get("eval_data_config")]
            if training
            else []
        )
        if not {part.name, part.get("name")} & set(named):
            return "not used: no pass names it"
    return ""


def _judged(part: Part, request: OliveRequest, *, instead: str) -> Iterator[Said]:
    """Yield the verdicts of a part; with what only files and flags can tell."""
    by_place = {field.place: (name, field.value) for name, field in part.fields.items()}
    for said in judged(part, instead=instead):
        name, value = by_place[said.place]
        if part.section is Section.ENGINE and request.target and name in _OF_SYSTEM:
            words = f"--target {request.target} takes its place"
            yield replace(said, verdict=Verdict.MAPPED, says=words)
        elif not instead and (missing := _missing(name, value, request)):
            yield replace(said, verdict=Verdict.REFUSED, says=missing, is_open=True)
        elif not instead and (marks := _foreign_marks(name, value, request)):
            words = f"{', '.join(marks)} is no token of {request.model} and is left out"
            yield replace(said, verdict=Verdict.MAPPED, says=words)
        else:
            yield said


def _missing(name: str, value: Any, request: OliveRequest) -> str:
    """Return what a field needs beside it and does not have; empty where nothing is missing."""
    if name in _SCRIPTS and not looked_up(value, request.path.parent):
        return "there is no such file; take it out, or put it beside the configuration"
    if name == "load_kwargs.trust_remote_code" and value and not request.trust_remote_code:
        return _NO_FLAG
    return ""


def _foreign_marks(name: str, value: Any, request: OliveRequest) -> tuple[str, ...]:
    """Return the marks of another model's chat format in a template; ``--model`` brings them."""
    if request.model is None or name != "pre_process.text_template":
        return ()
    return foreign_marks(value, request.model)


def _config(
    parts: _Parts, request: OliveRequest, system: Part | None
) -> tuple[RunConfig, tuple[str, ...]]:
    engine, passes = parts.one(Section.ENGINE), parts.many(Section.PASS)
    training = trained_by(passes)
    is_opened = request.is_search or _opens(engine)
    chain = chain_of(passes, is_opened=is_opened)
    _check_search(request, is_opened=is_opened, is_whole=chain.is_whole)
    target = request.target or target_of(system, engine)
    notes = [] if request.target or system else [f"no system is named: the target is {target}"]
    limits = _limits(engine, request, is_opened=is_opened)
    config = RunConfig(
        target=target,
        model=_model(parts.one(Section.MODEL), request),
        constraints=request.constraints,
        trust_remote_code=request.trust_remote_code,
        is_demo=False,
        chain=chain,
        sampler=limits.sampler,
        max_trials=limits.max_trials,
        budget_s=limits.budget_s,
    )
    if training is None or chain.training is None:
        return replace(config, data="", template=""), tuple(notes)
    notes += [said for said in (defaults_said(training),) if said]
    rows, validation = _rows(training, parts.many(Section.DATA), request.path.parent)
    marks = _foreign_marks("pre_process.text_template", rows.template, request)
    config = replace(
        config,
        data=rows.source,
        template=without_marks(rows.template, marks),
        corpus=rows.corpus,
        validation_data=validation.source if validation else None,
        held_out=None if validation else training.get("eval_dataset_size"),
        seed=chain.training.adapter.seed,
        trainings=Trainings(methods=(chain.training.adapter.method,)),
    )
    return config, tuple(notes)


def _opens(engine: Part | None) -> bool:
    if engine is None:
        return False
    has_dials = any(name.startswith("search_strategy.") for name in engine.fields)
    return bool(engine.get("search_strategy", has_dials))


def _check_search(request: OliveRequest, *, is_opened: bool, is_whole: bool) -> None:
    if (request.budget_s or request.max_trials) and not is_opened:
        raise UsageError(
            "--budget and --trials are limits of a search, the configuration runs as given;"
            " add --search, or leave them out."
        )
    if (is_opened or request.constraints) and not is_whole:
        raise UsageError(
            "A search and bounds are about a model that is trained and built; add the pass that"
            " is missing (LoRA or QLoRA, MergeAdapterWeights, ModelBuilder)."
        )


def _flags(request: OliveRequest) -> list[str]:
    """Return the words of the command that a job repeats."""
    words = [word for text in request.sets for word in ("--set", text)]
    words += [word for bound in request.constraints for word in ("--constraint", str(bound))]
    words += ["--search"] if request.is_search else []
    words += ["--budget", f"{request.budget_s:g}s"] if request.budget_s else []
    words += ["--trials", str(request.max_trials)] if request.max_trials else []
    return words + (["--trust-remote-code"] if request.trust_remote_code else [])


@dataclass(frozen=True, kw_only=True)
class _Limits:
    sampler: str = "tpe"
    max_trials: int | None = 1
    budget_s: float | None = None


def _limits(engine: Part | None, request: OliveRequest, *, is_opened: bool) -> _Limits:
    """Return sampler, budget and trials: of a search, or of the one chain there is."""
    if not is_opened:
        return _Limits()
    strategy = {
        name.removeprefix("search_strategy."): field.value
        for name, field in (engine.fields.items() if engine else ())
    }
    trials = request.max_trials or strategy.get("max_samples")
    budget = request.budget_s or strategy.get("max_time")
    sampler = strategy.get("sampler", "tpe")
    return _Limits(
        sampler=_SAMPLERS.get(sampler, sampler),
        max_trials=trials,
        budget_s=OWN_DATA_BUDGET_S if trials is None and budget is None else budget,
    )


def _model(part: Part | None, request: OliveRequest) -> str:
    if request.model is not None:
        found = looked_up(request.model, Path())
        return str(found) if found else request.model
    if part is None or not (name := part.get("model_path") or part.get("model_name")):
        raise UsageError("input_model names no model here; give model_path, or --model.")
    found_name = found_model(str(name), request.path.parent)
    revision = part.get("load_kwargs.revision")
    return f"{found_name}@{revision}" if revision else found_name


def _rows(training: Part, parts: Sequence[Part], folder: Path) -> tuple[Rows, Rows | None]:
    name = training.get("train_data_config")
    if name is None:
        raise UsageError(f"{training.place} needs a train_data_config, the rows to train on.")
    place = f"{training.place}.train_data_config"
    rows = read_rows(named_data(name, parts, place=place), folder)
    if (other := training.get("eval_data_config")) is None:
        return rows, None
    place = f"{training.place}.eval_data_config"
    validation = read_rows(named_data(other, parts, place=place), folder)
    if validation.template != rows.template:
        raise UsageError(
            f"{place} turns rows into text in another way than the training's; use one"
            " text_template for both."
        )
    return rows, validation
