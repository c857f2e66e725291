r"""The library from Python: ``autotune.tune(...)`` gives a ``Run``, as the command line does.

    run = autotune.tune(data="rows.csv", template=r"{text}\n{label}", constraints=["latency<=50ms"])
    run.best.folder, run.front

A ``Run`` is a view of its folder; ``Run.open`` gives one of a run that is there already.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.candidate import AdapterConfig, Method, Recipe
from autotune.config import Bounds, resolve_config
from autotune.errors import UsageError
from autotune.kinds import Kind
from autotune.list_flags import read_layers, read_names, read_trainings
from autotune.reports import (
    EventLog,
    Metric,
    ReportedModel,
    RunOutcome,
    RunReport,
    Trial,
    TrialLog,
    load_report,
    metric_text,
    metric_title,
)
from autotune.settings import flags_of
from autotune.task_flags import TaskFlags

if TYPE_CHECKING:
    import pandas as pd

    from autotune.progress import Progress

__all__ = ["Model", "Run", "tune"]

_FRONT = ("accuracy", "macro_f1", "latency.p50", "latency.p95", "tpot.p50", "memory", "size")
_SHOWN = ("accuracy", "latency.p50", "latency.p95", "memory", "size")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model of a run.

    Attributes:
        name: ``training/recipe``.
        folder: deploy folder, None for a model that ``Run.export`` has not made one of.
        recipe: how it is built.
        adapter: how it was trained, None for the untrained model.
        metrics: published numbers by name (``latency.p95``), with unit and interval.
    """

    name: str
    folder: Path | None
    recipe: Recipe
    adapter: AdapterConfig | None
    metrics: dict[str, Metric]

    @classmethod
    def of(cls, model: ReportedModel, run: Path) -> Model:
        """Return a model of a report; ``run`` is the run folder."""
        return cls(
            name=model.name,
            folder=run / model.model_dir if model.model_dir else None,
            recipe=model.recipe,
            adapter=model.adapter,
            metrics=model.metrics,
        )

    def __repr__(self) -> str:
        """Return name and main numbers: all fields would fill a notebook's screen."""
        known = [name for name in _SHOWN if name in self.metrics]
        numbers = ", ".join(f"{metric_title(n)} {metric_text(self.metrics[n])}" for n in known)
        return f"<Model {self.name}: {numbers or 'not measured'}>"


@dataclass(frozen=True)
class Run:
    """A run in its folder.

    Attributes:
        folder: of the run.
        report: everything that ``report.json`` says.
    """

    folder: Path
    report: RunReport = field(repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Return the run in ``folder``.

        Raises:
            UsageError: no run with a report there, or one of another version.
        """
        return cls(Path(folder), load_report(Path(folder) / "report.json"))

    @property
    def outcome(self) -> RunOutcome:
        """``feasible`` where a model meets the bounds, else how the run ended."""
        return self.report.outcome

    @property
    def best(self) -> Model | None:
        """The model that the run chose, None where none meets the bounds."""
        return Model.of(self.report.chosen, self.folder) if self.report.chosen else None

    @property
    def baseline(self) -> Model | None:
        """The untrained model that the choice was compared with."""
        return Model.of(self.report.baseline, self.folder) if self.report.baseline else None

    @property
    def page(self) -> Path:
        """The page to open in a browser."""
        return self.folder / "report.html"

    @property
    def front(self) -> pd.DataFrame | list[dict[str, Any]]:
        """Models that no other beats, best first: a DataFrame, or rows where pandas is absent.

        Metrics of answers are those of the validation split. Times are in seconds, sizes in
        bytes; ``_low`` and ``_high`` are the ends of the 95 % interval, missing where there is
        none.
        """
        trials = {trial.name: trial.number for trial in self.trials if trial.name}
        rows = [_row(model, trials.get(model.name)) for model in self.report.front]
        if importlib.util.find_spec("pandas") is None:
            return rows
        import pandas as pd  # noqa: PLC0415 - heavy, and only for those who look at tables

        return pd.DataFrame(rows)

    @property
    def trials(self) -> list[Trial]:
        """Every trial with its raw samples, failed ones included.

        Raises:
            ReplayError: the journal is damaged or of another version.
        """
        return TrialLog(self.folder / self.report.trials_file).read()

    @property
    def events(self) -> EventLog:
        """The journal of all steps."""
        return EventLog(self.folder / self.report.events_file)

    def export(self, trial: int, output: str | Path | None = None) -> Path:
        """Make the deploy folder of a trial's model; errors as ``autotune export``."""
        from autotune.export import export_trial  # noqa: PLC0415 - what a run needs

        return export_trial(self.folder, trial, output=Path(output) if output else None)

    def resume(self, *, quiet: bool = False) -> Run:
        """Go on with an interrupted run and return it as it is then; errors as ``tune``."""
        from autotune.runner import resume_run  # noqa: PLC0415 - what a run needs

        return Run(self.folder, resume_run(self.folder, progress=_progress(quiet=quiet)))

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the answer and the front."""
        rows = "".join(
            f"<tr><td>{escape(model.name)}</td>"
            f"{''.join(f'<td>{escape(_text(model, name))}</td>' for name in _SHOWN)}</tr>"
            for model in self._shown()
        )
        heads = "".join(f"<th>{escape(metric_title(name))}</th>" for name in _SHOWN)
        return (
            f"<p><b>{escape(self.outcome)}</b>: {escape(self.report.decision or 'no choice')}"
            f"<br>{escape(str(self.folder))}</p>"
            f"<table><thead><tr><th>model</th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _shown(self) -> Iterable[ReportedModel]:
        """Return the choice and the baseline with their published numbers, then the others."""
        first = [model for model in (self.report.chosen, self.report.baseline) if model]
        names = {model.name for model in first}
        return [*first, *(model for model in self.report.front if model.name not in names)]


def _text(model: ReportedModel, name: str) -> str:
    metric = model.metrics.get(name)
    return metric_text(metric) if metric else "-"


def _row(model: ReportedModel, trial: int | None) -> dict[str, Any]:
    """Return a model of the front as a row of plain values."""
    verdicts = {bound.metric_name: str(bound.verdict) for bound in model.bounds}
    row: dict[str, Any] = {
        "trial": trial,
        "model": model.name,
        "training": model.training,
        "recipe": model.recipe_name,
    }
    for name in _FRONT:
        if (metric := model.metrics.get(name)) is not None:
            row[name] = metric.value
            if metric.ci95 is not None:
                row |= {f"{name}_low": metric.ci95[0], f"{name}_high": metric.ci95[1]}
    return {**row, **{f"bound {name}": verdict for name, verdict in verdicts.items()}}


def _progress(*, quiet: bool) -> Progress:
    from autotune.progress import Progress  # noqa: PLC0415 - startup time

    return Progress(quiet=quiet)


def tune(
    *,
    data: str | Path | None = None,
    template: str | None = None,
    model: str | Path | None = None,
    constraints: Sequence[str] = (),
    target: str = "auto",
    target_report: str | Path | None = None,
    task: Kind | None = None,
    options: Sequence[str] = (),
    metric: str | None = None,
    extract: str | None = None,
    chat: bool = False,
    truncate: bool = False,
    validation_data: str | Path | None = None,
    test_data: str | Path | None = None,
    budget: str | None = None,
    trials: int | None = None,
    sampler: str = "tpe",
    recipes: Sequence[str] = (),
    methods: Sequence[Method] = (),
    quantisers: Sequence[str] = (),
    layers: Sequence[int] | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
    output: str | Path | None = None,
    quiet: bool = False,
) -> Run:
    """Find the best model under ``constraints`` and return the run; the flags say the same.

    Args:
        data: json, jsonl, csv or parquet file, or a hub data set id; None is the demo.
        template: text of a row; the last ``{field}`` and what follows is the answer. None
            for conversations and for plain text.
        model: hub id, folder, .gguf file or ``pypi:...``; None is the demo's.
        constraints: ``latency<=50ms``, ``size<=1GB``, ``accuracy>=0.9``, ...
        target: where the model will run.
        target_report: hardware report with a census of another machine.
        task: None lets the data decide.
        options: columns with the options of a multiple choice.
        metric: how answers are judged.
        extract: regular expression that takes the answer out of generated text.
        chat: ask in the words of the model's chat template.
        truncate: leave out the beginning of prompts that the model cannot hold.
        validation_data: a validation split of your own.
        test_data: a test split of your own.
        budget: wall time with unit; None is 12 min for the demo and 1 h for your data.
        trials: trained models scored at most.
        sampler: Optuna sampler by name.
        recipes: ways of building by name or pattern; none takes those worth trying.
        methods: ways of training; none takes those that help.
        quantisers: in the training loop with qat-lora; none takes those of the recipes.
        layers: decoder layers to keep beside the whole model; an empty list leaves none out,
            None lets bounds and census decide.
        seed: of everything.
        trust_remote_code: run Python code that a model repository brings.
        output: run folder; None is ``results/<time>-<target>``.
        quiet: say nothing while it goes on; ``logs/run.log`` in the folder has it all.

    Returns:
        The run, whatever its outcome; ``Run.best`` is None where no model meets the bounds.

    Raises:
        KeyboardInterrupt: interrupted before the first step; nothing is left behind.
        AutotuneError: as the command line tells them, ``errors`` has the classes.
    """
    columns = ",".join(options) or None
    ways, grids = _joined("methods", methods), _joined("quantisers", quantisers)
    builds = _joined("recipes", recipes)
    depths = None if layers is None else ",".join(map(str, layers)) or "all"
    asked = TaskFlags(options=columns, metric=metric, extract=extract, chat=chat, truncate=truncate)
    places = {
        "target_report": _name(target_report),
        "model": _name(model),
        "data": _name(data),
        "validation_data": _name(validation_data),
        "test_data": _name(test_data),
    }
    config = resolve_config(
        **places,
        target=target,
        template=template,
        kind=task,
        task=asked,
        bounds=Bounds(general=_listed("constraints", constraints)),
        budget=budget,
        trials=trials,
        sampler=sampler,
        trainings=read_trainings(methods=ways, quantisers=grids),
        recipes=() if builds is None else read_names("--recipes", builds),
        layers=read_layers(depths),
        seed=seed,
        trust_remote_code=trust_remote_code,
    )
    from autotune.runner import run_config  # noqa: PLC0415 - what a run needs

    flags = {
        "target": target if target != "auto" else None,
        **places,
        "template": template,
        "task": task,
        "options": columns,
        "metric": metric,
        "extract": extract,
        "chat": chat,
        "truncate": truncate,
        "constraint": list(constraints),
        "budget": budget,
        "trials": trials,
        "sampler": sampler if sampler != "tpe" else None,
        "recipes": builds,
        "methods": ways,
        "quantisers": grids,
        "layers": depths,
        "seed": seed,
        "trust_remote_code": trust_remote_code,
    }
    ended = run_config(
        config,
        output=Path(output) if output else None,
        progress=_progress(quiet=quiet),
        command=("autotune", *flags_of(flags)),
    )
    if ended is None:
        raise KeyboardInterrupt
    return Run(*ended)


def _listed(name: str, texts: Sequence[str]) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise UsageError(f"{name} is a list of texts, got {texts!r}; write [{texts!r}].")
    return tuple(texts)


def _joined(name: str, texts: Sequence[str]) -> str | None:
    """Return texts as a flag has them, None for none."""
    return ",".join(_listed(name, texts)) or None


def _name(source: str | Path | None) -> str | None:
    return None if source is None else str(source)
