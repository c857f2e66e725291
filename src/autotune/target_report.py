"""The machine that a hardware report speaks of, as the target of a run that takes place here.

Its census supplies what running a recipe costs there (time, memory, load); accuracy
comes from this machine. Only recipes that the census measured can be tried.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune.candidate import Candidate, Recipe
from autotune.errors import UsageError
from autotune.measurement import Measurement
from autotune.plain import to_plain
from autotune.reports import Census, CensusEntry, HardwareReport, load_hardware_report
from autotune.steps import OutcomeStatus
from autotune.targets import Refusal, stand_in

__all__ = ["COSTS", "TargetMachine", "as_proxy", "load_target_report"]

# What a machine decides and training does not; size and answers are taken here.
COSTS = (
    *("latency", "ttft", "tpot", "load", "new_length", "memory"),
    *("device_memory", "energy", "energy_per_token"),
)
# Kernels follow from the instruction set and from these libraries.
_KERNELS = ("onnxruntime", "onnxruntime-genai")
_TAKE_ONE = (
    "take one there with the same --model, --data, --template and --seed:"
    " autotune census --output FILE"
)


@dataclass(frozen=True, kw_only=True)
class TargetMachine:
    """A machine by its report.

    Attributes:
        name: of the report's file, for people.
        report: the document.
        census: what was measured there.
    """

    name: str
    report: HardwareReport
    census: Census

    @property
    def hardware(self) -> dict[str, Any]:
        """Facts of that machine in the form of run reports."""
        found: dict[str, Any] = to_plain(self.report.hardware)
        return found

    def check(self, *, model: str, workload: str) -> None:
        """Compare with a run's model (revision or digest) and workload (digest).

        Raises:
            UsageError: the census is of another model or other requests.
        """
        pairs = {
            "model": (self.census.model.revision_or_digest, model),
            "requests": (self.census.workload.digest, workload),
        }
        for what, (theirs, ours) in pairs.items():
            if theirs != ours:
                raise UsageError(
                    f"--target-report {self.name!r} has a census of other {what} than this run:"
                    f" {theirs[:16]!r} there, {ours[:16]!r} here; {_TAKE_ONE}."
                )

    def recipes(self, providers: Collection[str]) -> tuple[tuple[Recipe, ...], tuple[Refusal, ...]]:
        """Return what was measured there and can be scored with ``providers``, and the rest.

        Raises:
            UsageError: nothing is left.
        """
        possible: dict[str, Recipe] = {}
        refused = []
        for entry in self.census.entries:
            if reason := self._refusal(entry, providers):
                refused.append(Refusal(recipe=entry.recipe, reason=reason, source=self.name))
            else:
                possible.setdefault(entry.recipe.name, entry.recipe)
        if not possible:
            reasons = "; ".join(f"{one.recipe.name}: {one.reason}" for one in refused)
            raise UsageError(
                f"--target-report {self.name!r} has no recipe that can be tried here"
                f" ({reasons or 'its census is empty'}); {_TAKE_ONE}."
            )
        return tuple(possible.values()), tuple(refused)

    def stand_ins(self, providers: Collection[str]) -> dict[str, Recipe]:
        """Return what is scored here for recipes of providers that are not, by their names."""
        return {
            entry.recipe.name: stand_in(entry.recipe)
            for entry in self.census.entries
            if entry.recipe.provider not in providers and not self._refusal(entry, providers)
        }

    def _refusal(self, entry: CensusEntry, providers: Collection[str]) -> str:
        if entry.status is not OutcomeStatus.MEASURED:
            return f"{entry.status} on {self.report.label}: {entry.reason}"
        if entry.recipe.provider not in providers and "cpu" not in providers:
            return (
                f"graphs for {entry.recipe.provider!r} cannot run here (this machine has"
                f" {', '.join(sorted(providers))}), nor can their stand-ins for the processor,"
                " so their accuracy cannot be had"
            )
        return ""

    def costs(self) -> dict[str, dict[str, Measurement]]:
        """Return time, memory, load and size by recipe name, then by metric."""
        taken = f"measured on {self.report.device}, {self.report.created}: untrained, built alike"
        found: dict[str, dict[str, Measurement]] = {}
        for entry in self.census.entries:
            if entry.status is OutcomeStatus.MEASURED:
                metrics = {
                    name: replace(one, method=f"{taken}; {one.method}")
                    for name, one in entry.metrics.items()
                    if name.partition(".")[0] in (*COSTS, "size")
                }
                found.setdefault(entry.recipe.name, metrics)
        return found

    def notes(
        self,
        *,
        finalists: Sequence[Candidate],
        providers: Collection[str],
        hardware: Mapping[str, Any],
        versions: Mapping[str, str],
    ) -> Iterator[str]:
        """Yield what a reader of the run must know.

        Args:
            finalists: the choice first.
            providers: of the machine that scored.
            hardware: facts of the machine that scored.
            versions: of its libraries.
        """
        report = self.report
        yield (
            f"Times and memory are those of the untrained models in the census of {report.label}"
            f" ({report.created}, digest {self.census.digest[:12]}); accuracy was measured here."
        )
        if differing := self._differing(hardware, versions):
            yield (
                f"The accuracy is a proxy: {' and '.join(differing)} differ on {report.label},"
                " so its kernels may round otherwise."
            )
        doubles = self.stand_ins(providers)
        if told := [c.recipe.name for c in finalists if c.recipe.name in doubles]:
            pairs = ", ".join(f"{doubles[name].name} for {name}" for name in dict.fromkeys(told))
            yield (
                "The accuracy is a proxy: graphs that cannot run here were scored by stand-ins"
                f" for the processor with the same rounding of weights ({pairs})."
            )
        if finalists:
            names = ", ".join(candidate.name for candidate in finalists)
            yield (
                f"The choice awaits confirmation on {report.label}: copy the run folder there and"
                f" run autotune measure RUN/model --into RUN. Finalists: {names}; should the first"
                " not hold, the same command with a tighter bound builds the next from the store."
            )

    def _differing(self, hardware: Mapping[str, Any], versions: Mapping[str, str]) -> list[str]:
        theirs = self.hardware.get("processor", {}).get("isa", {}).get("value")
        ours = hardware["processor"]["isa"]["value"]
        found = ["instruction sets"] if sorted(theirs or ()) != sorted(ours or ()) else []
        return found + [
            f"versions of {name}"
            for name in _KERNELS
            if self.report.versions.get(name) != versions.get(name)
        ]


def load_target_report(path: str) -> TargetMachine:
    """Return the machine that the hardware report in the file ``path`` speaks of.

    Raises:
        UsageError: missing, truncated, of another version, altered, or without a census.
    """
    report = load_hardware_report(Path(path))
    if report.census is None:
        raise UsageError(f"--target-report {path!r} has no census; {_TAKE_ONE}.")
    return TargetMachine(name=Path(path).name, report=report, census=report.census)


def as_proxy(
    found: Mapping[str, Measurement],
    recipe: Recipe,
    double: Recipe,
    told: Mapping[str, Measurement],
) -> dict[str, Measurement]:
    """Return what ``double`` showed as the proxy for ``recipe`` that it is.

    The size is that of ``recipe``'s own census, ``told``; a stand-in's is another.
    """
    by = f"proxy: scored as {double.name}, since no graph of {recipe.name} can run here"
    kept = {name: replace(m, method=f"{by}; {m.method}") for name, m in found.items()}
    kept.pop("size", None)
    return kept | ({"size": told["size"]} if "size" in told else {})
