"""The Optuna study of a run: every trial as others can read it, and the sampler.

The journal of the run is the truth; the study file is made from it. It is deleted
and written anew when a run is resumed, so only ``observe`` calls are needed to
rebuild it, and a half-written file harms nobody.

Every started training is a trial from its first rung on. It is told when it is
scored; each further recipe is a trial of its own with the same parameters. Losses
of low rungs are attributes, never values.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from autotune.candidate import AdapterConfig, Candidate, Recipe
from autotune.errors import UsageError
from autotune.measurement import metric_unit
from autotune.plain import to_plain
from autotune.steps import OutcomeStatus

from .arms import at_depth
from .settings import SamplerName, SearchSettings, derive_seed
from .verdicts import to_minimise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filelock import FileLock
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler

__all__ = ["StudyRecord"]

_RECIPE = "recipe"
_STARTUP_TRIALS = 5  # the portfolio counts


class StudyRecord:
    """One study in a journal file, held by this process alone; a context manager.

    Args:
        path: the journal file; None keeps the study in memory.
        name: of the study.

    Raises:
        UsageError: another process holds the file.
    """

    def __init__(self, path: Path | None = None, *, name: str = "autotune") -> None:
        self._path = path
        self._name = name
        self._lock = _held(path) if path is not None else None
        self._opened: tuple[SearchSettings, Study] | None = None
        self._running: dict[str, Trial] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; nothing but the study stays."""
        if self._lock is None or not self._lock.is_locked:
            return
        # While it is held: removed later, it could be the lock of the next process.
        with suppress(OSError):  # Windows removes no open file
            Path(self._lock.lock_file).unlink()
        self._lock.release()

    def open(self, settings: SearchSettings) -> None:
        """Begin an empty study for ``settings``; a file from before is replaced."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            # Optuna's lock outlives a process that was killed while it wrote, and would be
            # waited for half a minute. The file is held by us alone, so it is nobody's.
            self._path.with_name(f"{self._path.name}.lock").unlink(missing_ok=True)
        self._running.clear()
        self._opened = None
        self._settings = settings

    @property
    def study(self) -> Study:
        """The Optuna study; made at first use, since importing optuna takes a while."""
        if self._opened is None:
            self._opened = (self._settings, self._create())
        return self._opened[1]

    def _create(self) -> Study:
        import optuna  # noqa: PLC0415 - heavy

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=self._name,
            storage=_storage(self._path),
            directions=["minimize"] * len(self._settings.objectives),
        )
        with _experimental():
            study.set_metric_names([_value_name(name) for name in self._settings.objectives])
        study.set_user_attr("constraints", [str(c) for c in self._settings.constraints])
        study.set_user_attr("seed", self._settings.seed)
        return study

    # Proposals

    def propose(
        self,
        *,
        index: int,
        recipe: str,
        fixed: Mapping[str, Any],
        taken: Collection[AdapterConfig],
    ) -> AdapterConfig:
        """Ask for the config of training number ``index``; the trial stays open.

        The sampler decides what is not ``fixed``. A config that was ``taken`` or that the
        space does not list is closed. The sampler is seeded anew from the run's seed and
        ``index``, so the answer depends on the trials in the study and on nothing else in
        this process.
        """
        study = self.study
        study.sampler = _sampler(
            self._settings.sampler, derive_seed(self._settings.seed, "ask", index)
        )
        study.enqueue_trial({_RECIPE: recipe, **fixed})
        with _experimental():
            trial = study.ask()
        adapter = self._suggest(trial)
        if adapter in taken or adapter.name in self._running:
            self._end(trial, outcome="duplicate", reason="this config was tried before")
        elif not self._settings.space.holds(adapter):
            self._end(trial, outcome="not listed", reason="the space has no such config")
        else:
            self._running[adapter.name] = trial
        return adapter

    def _suggest(self, trial: Trial) -> AdapterConfig:
        trial.suggest_categorical(_RECIPE, [recipe.name for recipe in self._settings.recipes])
        return self._settings.space.suggest(trial)

    def _enqueued(self, adapter: AdapterConfig, recipe: str) -> Trial:
        params = {_RECIPE: recipe, **self._settings.space.to_params(adapter)}
        self.study.enqueue_trial(params)
        trial = self.study.ask()
        self._suggest(trial)
        return trial

    # What happened

    def started(
        self, adapter: AdapterConfig, *, recipe: str, constraints: Mapping[str, float], origin: str
    ) -> None:
        """Open the trial of a training, with the constraint values of its recipe."""
        if adapter.name not in self._running:
            self._running[adapter.name] = self._enqueued(adapter, recipe)
        trial = self._running[adapter.name]
        _set_constraints(trial, constraints)
        trial.set_user_attr("adapter", adapter.name)
        trial.set_user_attr("adapter_config", to_plain(adapter))
        trial.set_user_attr("origin", origin)

    def reached(self, adapter: AdapterConfig, *, fraction: float, nll: float) -> None:
        """Note the loss of a rung."""
        self._running[adapter.name].set_user_attr(f"nll_at_{fraction:.2f}", nll)

    def scored(
        self,
        candidate: Candidate,
        *,
        metrics: Mapping[str, float],
        constraints: Mapping[str, float],
        facts: Mapping[str, Any],
    ) -> None:
        """Tell a candidate that was trained to the end and scored.

        ``metrics`` holds all objectives of the settings.
        """
        attributes = {**_described(candidate, OutcomeStatus.MEASURED), **facts}
        values = [to_minimise(name, metrics[name]) for name in self._settings.objectives]
        self._close(candidate, values=values, attributes=attributes, constraints=constraints)

    def failed(self, candidate: Candidate, *, outcome: OutcomeStatus, reason: str) -> None:
        """Tell a trained candidate that could not be built or scored, without any number."""
        attributes = {**_described(candidate, outcome), "reason": reason}
        self._close(candidate, values=None, attributes=attributes, constraints={})

    def training_failed(self, adapter: AdapterConfig, *, outcome: str, reason: str) -> None:
        """Tell a training that failed, without any number."""
        self._end(self._running.pop(adapter.name), outcome=outcome, reason=reason)

    def infeasible(self, recipe: Recipe, *, constraints: Mapping[str, float], reason: str) -> None:
        """Tell that no training can make ``recipe`` feasible.

        Its parameters are drawn, and nothing was trained: the bound fails whatever
        they are. Pruned with its constraint values, since a failure would teach the
        sampler nothing and it would ask for the recipe again (measured with Optuna 5.0).
        """
        from optuna.trial import TrialState  # noqa: PLC0415 - heavy

        settings = self._settings
        adapter = settings.space.draw(derive_seed(settings.seed, "census", recipe.name))
        adapter = at_depth(adapter, recipe.layers, settings.space)
        attributes = {
            "outcome": OutcomeStatus.INFEASIBLE.value,
            "reason": f"{reason}; by the census, nothing was trained",
            _RECIPE: recipe.name,
        }
        self._add(
            adapter,
            recipe.name,
            state=TrialState.PRUNED,
            user_attrs=attributes,
            constraints=dict(constraints),
        )

    def finish(self) -> None:
        """Tell the trials that were never trained to the end."""
        from optuna.trial import TrialState  # noqa: PLC0415 - heavy

        for trial in self._running.values():
            trial.set_user_attr("outcome", "stopped early")
            self.study.tell(trial, state=TrialState.PRUNED)
        self._running.clear()

    def _close(
        self,
        candidate: Candidate,
        *,
        values: list[float] | None,
        attributes: Mapping[str, Any],
        constraints: Mapping[str, float],
    ) -> None:
        """Tell the open trial of the training; a further recipe becomes a trial at once.

        A trial that is added whole is one write to the journal in the place of about twenty,
        each of which is synced.
        """
        from optuna.trial import TrialState  # noqa: PLC0415 - heavy

        if candidate.adapter is None:
            raise ValueError("the untrained model is no trial")
        state = TrialState.FAIL if values is None else TrialState.COMPLETE
        trial = self._running.get(candidate.adapter.name)
        if trial is None or trial.params[_RECIPE] != candidate.recipe.name:
            self._add(
                candidate.adapter,
                candidate.recipe.name,
                state=state,
                values=values,
                user_attrs=dict(attributes),
                constraints=dict(constraints),
            )
            return
        del self._running[candidate.adapter.name]
        _set_constraints(trial, constraints)
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        self.study.tell(trial, values, state=state)

    def _add(self, adapter: AdapterConfig, recipe: str, **content: Any) -> None:
        """Add a finished trial with the parameters of ``adapter`` and ``recipe``."""
        from optuna.distributions import CategoricalDistribution  # noqa: PLC0415 - heavy
        from optuna.trial import create_trial  # noqa: PLC0415 - heavy

        params = self._settings.space.to_params(adapter)
        distributions = self._settings.space.distributions()
        names = [known.name for known in self._settings.recipes]
        trial = create_trial(
            params={_RECIPE: recipe, **params},
            distributions={
                _RECIPE: CategoricalDistribution(names),
                **{name: distributions[name] for name in params},
            },
            **content,
        )
        self.study.add_trial(trial)

    def _end(self, trial: Trial, *, outcome: str, reason: str) -> None:
        from optuna.trial import TrialState  # noqa: PLC0415 - heavy

        trial.set_user_attr("outcome", outcome)
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)


def _described(candidate: Candidate, outcome: OutcomeStatus) -> dict[str, Any]:
    """Return the attributes that every told trial has."""
    return {
        "adapter_config": to_plain(candidate.adapter),
        "candidate": candidate.name,
        "training": candidate.training,
        _RECIPE: candidate.recipe.name,
        "outcome": outcome.value,
    }


def _value_name(metric: str) -> str:
    """Return how the study calls an objective: ``error``, ``latency_p95_s``, ``nll_nat``."""
    if metric in ("accuracy", "macro_f1"):
        return "error" if metric == "accuracy" else f"{metric}_error"
    unit = metric_unit(metric)
    return metric.replace(".", "_") + ("" if unit == "1" else f"_{unit}")


def _held(path: Path) -> FileLock:
    """Return the lock beside ``path``, held."""
    from filelock import FileLock, Timeout  # noqa: PLC0415 - only where a file is used

    path.parent.mkdir(parents=True, exist_ok=True)
    # Optuna's own lock is PATH.lock, taken for single writes.
    lock = FileLock(path.with_name(f"{path.name}.held"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            f"The study file {str(path)!r} is held by another process; let it end first,"
            " or choose another output folder."
        ) from error
    return lock


def _storage(path: Path | None) -> Any:
    """Return a journal storage: about ten times cheaper than SQLite, as measured with 5.0."""
    if path is None:
        return None
    from optuna.storages import JournalStorage  # noqa: PLC0415 - heavy
    from optuna.storages.journal import (  # noqa: PLC0415 - heavy
        JournalFileBackend,
        JournalFileOpenLock,
    )

    # The default lock makes a symbolic link, which Windows allows to few.
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))


def _set_constraints(trial: Trial, constraints: Mapping[str, float]) -> None:
    """Set values that are not set yet; Optuna keeps the first of each key."""
    known = trial.constraints
    for name, value in constraints.items():
        if name not in known:
            trial.set_constraint(name, value)


def _sampler(name: SamplerName, seed: int) -> BaseSampler:
    """Return a fresh sampler.

    Raises:
        UsageError: the Gaussian process needs libraries that are absent.
    """
    from optuna import samplers  # noqa: PLC0415 - heavy

    match name:
        case SamplerName.TPE:
            return samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
        case SamplerName.NSGAII:
            return samplers.NSGAIISampler(seed=seed)
        case SamplerName.GP:
            try:
                return samplers.GPSampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
            except ImportError as error:
                raise UsageError(
                    "The sampler 'gp' needs scipy and torch; install them or take 'tpe'."
                ) from error
        case SamplerName.RANDOM | SamplerName.GRID:
            return samplers.RandomSampler(seed=seed)


@contextmanager
def _experimental() -> Iterator[None]:
    """Silence Optuna's notes that an interface may still change; its version is pinned."""
    from optuna.exceptions import ExperimentalWarning  # noqa: PLC0415 - heavy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
