from __future__ import annotations

import time
from pathlib import Path

import pytest

from autotune.constraint import parse_constraint
from autotune.errors import ReplayError, RunError, UsageError
from autotune.plain import digest, from_plain, to_plain
from autotune.search import PlannerState, SearchSettings, StagedPlanner, StudyRecord
from autotune.steps import Done, OutcomeStatus, TrainStep, Wait

from .world import INT4_B128, INT8, RECIPES, Run, World, simulate

FIRST = "lora-r16-a2-lr0.001"
SETTINGS = SearchSettings(
    recipes=(INT4_B128, INT8),
    constraints=(parse_constraint("latency<=60ms"), parse_constraint("accuracy>=0.5")),
    budget_s=1800.0,
    min_gain=0.0,
)
WORLDS = {
    "plain": World(),
    "failing": World(failures={f"measure:{INT8.name}": OutcomeStatus.CRASHED}),
    "changing": World(confirm_factor={INT8: 2.0}),
}


@pytest.fixture(scope="module", params=sorted(WORLDS))
def run(request: pytest.FixtureRequest) -> Run:
    return simulate(WORLDS[request.param], StagedPlanner(SETTINGS))


def _steps_match(run: Run, planner: StagedPlanner, *, start: int) -> None:
    for step, outcome, before, _ in run.events[start:]:
        assert planner.next(PlannerState(elapsed_s=before)) == step
        planner.observe(step, outcome)
    assert planner.next(PlannerState(elapsed_s=run.elapsed_s)) == run.done


def test_a_record_fed_to_a_new_planner_gives_the_same_steps(run: Run) -> None:
    assert any(step.adapter.name[:19] != FIRST for step in run.steps if isinstance(step, TrainStep))
    _steps_match(run, StagedPlanner(SETTINGS), start=0)


def test_a_planner_that_only_observed_a_prefix_goes_on_the_same_way(run: Run) -> None:
    for prefix in range(1, len(run.events) + 1):
        planner = StagedPlanner(SETTINGS)
        for step, outcome, *_ in run.events[:prefix]:
            planner.observe(step, outcome)
        before = run.events[prefix][2] if prefix < len(run.events) else run.elapsed_s
        expected = run.steps[prefix] if prefix < len(run.events) else run.done
        assert planner.next(PlannerState(elapsed_s=before)) == expected, prefix


def test_a_planner_resumed_in_the_middle_reaches_the_same_end(run: Run) -> None:
    middle = len(run.events) // 2
    planner = StagedPlanner(SETTINGS)
    for step, outcome, *_ in run.events[:middle]:
        planner.observe(step, outcome)
    _steps_match(run, planner, start=middle)


def test_steps_and_outcomes_survive_the_way_to_disk(run: Run) -> None:
    planner = StagedPlanner(SETTINGS)
    for step, outcome, before, _ in run.events:
        assert planner.next(PlannerState(elapsed_s=before)) == step
        planner.observe(
            from_plain(type(step), to_plain(step)), from_plain(type(outcome), to_plain(outcome))
        )


def test_asking_twice_gives_the_same_answer(run: Run) -> None:
    planner = StagedPlanner(SETTINGS)
    for step, outcome, before, _ in run.events:
        state = PlannerState(elapsed_s=before)
        assert planner.next(state) == planner.next(state) == step
        assert planner.explain()
        assert "\n" not in planner.explain()
        planner.observe(step, outcome)


def test_it_waits_while_a_step_runs() -> None:
    planner = StagedPlanner(SETTINGS)
    step = planner.next(PlannerState(elapsed_s=0.0))
    assert not isinstance(step, Wait | Done)
    assert planner.next(PlannerState(elapsed_s=0.0, running=(step,), free=0)) == Wait()


def test_a_training_without_any_recipe_to_build_with_is_no_record_of_this_run(run: Run) -> None:
    training = next(event for event in run.events if isinstance(event[0], TrainStep))
    with pytest.raises(ReplayError, match="start a new one"):
        StagedPlanner(SETTINGS).observe(*training[:2])


def test_settings_have_a_digest_that_follows_every_value() -> None:
    other = SearchSettings(recipes=RECIPES, budget_s=1800.0, seed=1)
    same = SearchSettings(recipes=RECIPES, budget_s=1800.0, seed=1)
    assert digest(to_plain(other)) == digest(to_plain(same)) != digest(to_plain(SETTINGS))


# The study


def _study(path: Path) -> object:
    from optuna import load_study  # noqa: PLC0415 - heavy
    from optuna.storages import JournalStorage  # noqa: PLC0415 - heavy
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415 - heavy

    return load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(path))))


def test_the_study_file_holds_every_trial_with_its_outcome_and_is_rebuilt_on_resume(
    tmp_path: Path,
) -> None:
    path = tmp_path / "study.journal"
    settings = SearchSettings(
        recipes=RECIPES,
        constraints=(parse_constraint("latency<=50ms"), parse_constraint("accuracy>=0.9")),
        budget_s=1500.0,
        min_gain=0.0,
    )
    with StudyRecord(path) as study:
        run = simulate(World(), StagedPlanner(settings, study=study))
    first = _rows(path)
    with StudyRecord(path) as study:
        planner = StagedPlanner(settings, study=study)
        for step, outcome, *_ in run.events:
            planner.observe(step, outcome)
        planner.next(PlannerState(elapsed_s=run.elapsed_s))
    assert _rows(path) == first

    outcomes = [attributes["outcome"] for _, _, _, attributes, _ in first]
    assert outcomes.count("infeasible") == 3
    assert outcomes.count("measured") == run.planner.progress().n_trials
    for state, values, params, attributes, constraints in first:
        if attributes["outcome"] == "measured":
            assert state == "COMPLETE"
            assert set(constraints) == {"latency.p95 <= 50 ms", "accuracy >= 0.900"}
            assert values
            assert values[0] == pytest.approx(1 - attributes["accuracy"])
        else:
            assert state == "PRUNED"
            assert values is None
        assert params["recipe"] in {recipe.name for recipe in RECIPES}


def _rows(path: Path) -> list[tuple[str, list[float] | None, dict, dict, dict]]:  # type: ignore[type-arg]  # JSON
    trials = _study(path).trials  # type: ignore[attr-defined]  # optuna is imported late
    return [(t.state.name, t.values, t.params, t.user_attrs, t.constraints) for t in trials]


@pytest.mark.parametrize(
    "status", [OutcomeStatus.DIVERGED, OutcomeStatus.OUT_OF_MEMORY, OutcomeStatus.TIMED_OUT]
)
def test_failures_are_told_as_failures_with_their_kind_and_no_number(
    status: OutcomeStatus, tmp_path: Path
) -> None:
    path = tmp_path / "study.journal"
    first = SETTINGS.first_configs[0]
    second = f"{SETTINGS.first_configs[1].name}/{INT8.name}"
    third = f"{SETTINGS.first_configs[2].name}/{INT8.name}"
    world = World(failures=dict.fromkeys((first.name, second, third), status))
    with StudyRecord(path) as study:
        simulate(world, StagedPlanner(SETTINGS, study=study))
    failed = [row for row in _rows(path) if row[3]["outcome"] == status.value]
    assert len(failed) >= 2
    assert all(state == "FAIL" and values is None for state, values, *_ in failed)


def test_a_closed_study_leaves_nothing_but_its_file(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with StudyRecord(path) as study:
        study.open(SETTINGS)
        assert len(study.study.trials) == 0
    study.close()
    assert [found.name for found in tmp_path.iterdir()] == ["study.journal"]
    with StudyRecord(path):
        study.close()  # again: the next owner's lock stays
        with pytest.raises(UsageError, match="held by another process"):
            StudyRecord(path)


def test_a_lock_that_a_killed_process_left_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    path.with_name("study.journal.lock").touch()  # Optuna waits 30 s for the owner of one
    began = time.monotonic()
    with StudyRecord(path) as study:
        study.open(SETTINGS)
        assert len(study.study.trials) == 0
    assert time.monotonic() - began < 15


def test_objectives_become_the_values_of_a_trial_and_the_names_of_the_study(
    tmp_path: Path,
) -> None:
    path = tmp_path / "study.journal"
    objectives = ("nll", "latency.p95", "memory", "accuracy")
    settings = SearchSettings(recipes=(INT8,), budget_s=600.0, objectives=objectives)
    with StudyRecord(path) as study:
        simulate(World(), StagedPlanner(settings, study=study))
        assert study.study.metric_names == ["nll_nat", "latency_p95_s", "memory_B", "error"]
    told = [row for row in _rows(path) if row[3]["outcome"] == "measured"]
    for _, values, _, attributes, _ in told:
        assert values is not None
        assert values[0] == pytest.approx(attributes["nll"])
        assert values[3] == pytest.approx(1 - attributes["accuracy"])


def test_an_objective_that_nothing_measured_is_named() -> None:
    settings = SearchSettings(recipes=(INT8,), budget_s=600.0, objectives=("macro_f1",))
    with pytest.raises(RunError, match="measured without macro_f1"):
        simulate(World(), StagedPlanner(settings))


def test_a_study_file_held_by_another_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with StudyRecord(path), pytest.raises(UsageError, match="held by another process"):
        StudyRecord(path)
    StudyRecord(path).close()


def test_a_run_that_trains_nothing_needs_no_study(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    settings = SearchSettings(
        recipes=RECIPES, constraints=(parse_constraint("latency<=1ms"),), budget_s=720.0
    )
    with StudyRecord(path) as study:
        simulate(World(), StagedPlanner(settings, study=study))
    assert not path.exists()


def test_low_rung_losses_are_attributes_and_never_values(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with StudyRecord(path) as study:
        run = simulate(World(), StagedPlanner(SETTINGS, study=study))
    partial = {name for name, fraction in run.fractions().items() if fraction < 1}
    rows = [row for row in _rows(path) if row[3].get("adapter") in partial]
    assert len(rows) == len(partial)
    assert all(row[0] == "PRUNED" and row[3]["outcome"] == "stopped early" for row in rows)
    assert all("nll_at_0.33" in row[3] for row in rows)
