"""From a finished (or stopped) run to what people read: report.json, report.html, model/."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from autotune.candidate import Candidate
from autotune.constraint import Verdict
from autotune.kinds import Kind, is_decision
from autotune.known_machine import calibrated_for
from autotune.lineage import Lineage, StageLedger
from autotune.page import write_page
from autotune.plain import to_plain
from autotune.reports import (
    MISTAKES_FILE,
    DecisionRule,
    LayersKept,
    Mistake,
    ModelFacts,
    RefusedRecipe,
    RunContext,
    RunOutcome,
    RunReport,
    TaskFacts,
    WorkloadFacts,
    build_report,
    load_model,
    write_json_atomic,
    write_mistakes,
    write_model_folder,
)
from autotune.run_hardware import hardware_of
from autotune.session import Session
from autotune.step_runner import StepRunner
from autotune.steps import Done, Event, Lever, MeasureStep, TestStep
from autotune.task import EvaluationRow, decision_plan

__all__ = ["model_facts", "public_name", "publish", "task_facts", "workload_facts", "write_model"]

# What is timed after tokenising, by kind of task.
_WORK: dict[Kind, str] = {
    "classification": "prefill and the decision between the labels",
    "choice": "prefill and the decision between the options",
    "generation": "prefill and as many tokens as the reference answer has",
    "perplexity": "prefill of a window's context and as many tokens as are scored after it",
}


def publish(
    session: Session,
    *,
    folder: Path,
    created: str,
    events: Sequence[Event],
    done: Done | None,
    outcome: RunOutcome,
    steps: StepRunner,
    notes: Sequence[str] = (),
    command: Sequence[str],
) -> RunReport:
    """Write ``report.json``, its page and, where a model was chosen, ``model/``.

    Returns:
        The report.

    Raises:
        OutputError: the disk is full or refuses.
    """
    target = session.target_machine
    context = RunContext(
        outcome=outcome,
        command=tuple(command),
        seed=session.config.seed,
        created=created,
        versions=session.all_versions,
        model=model_facts(session),
        task=task_facts(session),
        workload=workload_facts(session),
        constraints=session.config.constraints,
        device=session.device,
        hardware=target.hardware if target else dict(session.hardware),
        refused=tuple(
            RefusedRecipe(
                name=refusal.recipe.name,
                recipe=refusal.recipe,
                reason=refusal.reason,
                source=refusal.source,
            )
            for refusal in session.refused
        ),
        decision=done,
        levers_left=_levers_left(session),
        notes=(*notes, *_place_notes(session), *_target_notes(session, events, done)),
    )
    report = _with_uncertainty(build_report(context, events))
    # The model first: a report must not name a folder that a full disk prevented.
    chosen = None if done is None else done.chosen
    if chosen is not None and not _holds(folder / "model", chosen):
        write_model(session, steps.lineage, folder / "model", chosen, report)
    write_json_atomic(folder / "report.json", to_plain(report))
    if (mistakes := _mistakes(session, events)) is not None:
        write_mistakes(folder / MISTAKES_FILE, mistakes)
    hardware = target.report if target else calibrated_for(report)
    write_page(folder, report, events, shows_mistakes=True, hardware=hardware)
    return report


def _holds(folder: Path, chosen: Candidate) -> bool:
    """Whether ``chosen`` is there already: of a run that was stopped before its report."""
    return folder.is_dir() and load_model(folder).name == chosen.name


def _levers_left(session: Session) -> dict[Lever, str]:
    """Return why levers were not offered to the search."""
    left: dict[Lever, str] = {}
    if not session.settings.cut_recipes:
        left["depth"] = session.depths.reason
    if not session.settings.space.quantisers:
        left["quantiser"] = session.offer.quantiser_reason
    return left


def _mistakes(session: Session, events: Sequence[Event]) -> list[Mistake] | None:
    """Return the test rows that the chosen model got wrong, None where none were scored."""
    tested = [event for event in events if isinstance(event.step, TestStep)]
    if not tested or not isinstance(step := tested[-1].step, TestStep):
        return None
    answers = tested[-1].outcome.answers.get(step.chosen.name)
    if answers is None or session.task.kind == "perplexity":  # a text has no wrong rows
        return None
    rows, right = session.tokens.test, tested[-1].outcome.correct[step.chosen.name]

    def spoken(row: EvaluationRow, answer: int | str) -> str:
        return (row.options or rows.labels)[answer] if isinstance(answer, int) else answer

    return [
        Mistake(
            row=number,
            prompt=row.prompt,
            reference=spoken(row, row.reference),
            answered=spoken(row, answers[number]),
        )
        for number, row in enumerate(rows.rows)
        if right[number] == "0"
    ]


def _place_notes(session: Session) -> tuple[str, ...]:
    """Return where a run that was sent somewhere ran; the job is told by whoever sent it."""
    place = os.environ.get("AUTOTUNE_PLACE")
    return (f"Ran on {place}, a machine with {session.device}.",) if place else ()


def _target_notes(session: Session, events: Sequence[Event], done: Done | None) -> tuple[str, ...]:
    """Return what there is to say of a target that is another machine."""
    if session.target_machine is None:
        return ()
    chosen = (done.chosen,) if done and done.chosen else ()
    measured = (e.step for e in events if isinstance(e.step, MeasureStep))
    confirmed = [c for s in measured if s.purpose == "confirm" for c in s.candidates if c.adapter]
    finalists = tuple(dict.fromkeys((*chosen, *confirmed))) if chosen else ()
    return tuple(
        session.target_machine.notes(
            finalists=finalists,
            providers={target.provider for target in session.targets},
            hardware=session.hardware,
            versions=session.versions,
        )
    )


def _with_uncertainty(report: RunReport) -> RunReport:
    """Return the report, its outcome uncertain where the nearest miss breaks no bound for sure."""
    if report.outcome != "infeasible" or report.nearest_miss is None:
        return report
    verdicts = {bound.verdict for bound in report.nearest_miss.bounds}
    is_uncertain = Verdict.UNCERTAIN in verdicts and Verdict.FAIL not in verdicts
    return replace(report, outcome="uncertain") if is_uncertain else report


def write_model(
    session: Session, lineage: Lineage, folder: Path, chosen: Candidate, report: RunReport
) -> None:
    """Write the deploy folder of ``chosen``; what the store lacks of it is made again.

    Raises:
        OutputError: the folder exists or cannot be written.
        RunError: a model that has to be made again cannot be.
    """
    write_model_folder(
        folder,
        built_dir=lineage.built(chosen).path,
        adapter_dir=lineage.shipped_adapter(chosen),
        rule=_decision_rule(session),
        report=report,
        license_path=session.source.license_path,
        layers_kept=_layers_kept(lineage, chosen, of=session.source.architecture.layers),
        hardware=hardware_of(session, report),
    )


def _layers_kept(lineage: Lineage, chosen: Candidate, *, of: int) -> LayersKept | None:
    """Return which of the ``of`` layers of the base model are in ``chosen``; None for all."""
    layers = chosen.recipe.layers
    if layers is None:
        return None
    facts = lineage.model(layers).facts
    reason = str(facts["reason"])
    if chosen.adapter is not None:
        healed = lineage.healing(chosen.adapter, StageLedger()).facts
        reason += (
            f"; healed in {healed['steps']} steps, which took the states of the rest from"
            f" {healed['distance_before']:.3f} to {healed['distance']:.3f} of the whole model's"
            " (squared distance over squared length)"
        )
    return LayersKept(kept=tuple(facts["kept"]), of=of, rule=str(facts["rule"]), reason=reason)


def _decision_rule(session: Session) -> DecisionRule:
    """Return how a model of ``session`` is asked and its answer decided."""
    rows, template = session.tokens.validation, session.task.template
    has_labels = rows.kind == "classification"
    return DecisionRule(
        kind=rows.kind,
        template=template.text,
        literals=template.literals,
        fields=template.fields,
        labels=rows.labels,
        label_ids=rows.label_ids,
        nodes=decision_plan(rows.label_ids).nodes if has_labels else (),
        eos_ids=rows.eos_ids,
        max_new_tokens=0 if is_decision(rows.kind) else rows.max_new_tokens,
        around=session.tokens.around,
        options=session.config.options,
        metric=rows.rule.metric,
    )


def public_name(source: str) -> str:
    """Return a path's last part, and a name on a hub as it is: reports are shared."""
    return Path(source).name if Path(source).is_absolute() else source


def model_facts(session: Session) -> ModelFacts:
    """Return the base model of ``session`` as reports name it."""
    source = session.source
    return ModelFacts(
        spec=public_name(source.spec),
        revision_or_digest=source.revision_or_digest,
        architecture=source.architecture.name,
        license=str(source.artifact.facts.get("license", "")),
        parameters=source.architecture.parameters,
    )


def task_facts(session: Session) -> TaskFacts:
    """Return the data of ``session`` as reports name it."""
    task, summary = session.task, session.task.summary
    sources = map(public_name, summary.sources)
    return TaskFacts(
        kind=task.kind,
        template=task.template.text,
        fields=task.template.fields,
        labels=task.labels,
        counts={str(name): size for name, size in summary.split_sizes.items()},
        digest=task.digest,
        source="built-in demo" if session.config.is_demo else ", ".join(sources),
        repeats_removed=summary.repeats_removed,
        conflicts=summary.conflicting_prompts,
        warnings=(*summary.warnings, *session.tokens.warnings),
    )


def workload_facts(session: Session) -> WorkloadFacts:
    """Return the requests of ``session`` as reports name them."""
    rows = session.workload.rows
    return WorkloadFacts(
        digest=session.workload.digest,
        requests=len(rows.rows),
        kind=rows.kind,
        statement=f"batch 1, tokenising, {_WORK[rows.kind]}; loading left out",
        prompt_tokens=mean(len(row.prompt_ids) for row in rows.rows),
    )
