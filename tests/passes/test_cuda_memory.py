"""How much of a batch is computed at once, and that it changes nothing but sums."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("peft", reason="extra 'train' is not installed")

import torch

from .training_runs import (
    ADAPTER,
    ON_CPU,
    compute,
    examples,
    gradients,
    require_cuda,
    started,
    train,
    training,
)

fit = import_module("autotune.passes.fit")  # no part of the folder's front door
on_cuda = pytest.mark.cuda


@pytest.mark.parametrize(("rows", "checkpointing"), [(4, False), (3, False), (8, True), (1, True)])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(
    inputs: dict[str, Path], device: str, rows: int, checkpointing: bool
) -> None:
    with started(inputs) as one:
        loss, expected = gradients(one)
    with started(inputs) as one:
        one.fit = fit.Fit(rows=rows, checkpointing=checkpointing, reason="the test asks for it")
        other_loss, found = gradients(one)
    tolerance = 0.1 if device == "cuda" else 1e-4
    assert other_loss == pytest.approx(loss, rel=tolerance)
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0
        difference = (found[name] - gradient).norm() / gradient.norm()
        assert difference < tolerance, name


def test_a_step_that_runs_out_of_memory_is_taken_in_halves_once(
    inputs: dict[str, Path], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = training.answer_losses, []

    def at_most(rows: int) -> Any:
        def losses(model: Any, batch: Any) -> torch.Tensor:
            seen.append(len(batch))
            if len(batch) > rows:
                raise torch.OutOfMemoryError(f"{device} out of memory. Tried to allocate 1 GiB")
            found: torch.Tensor = real(model, batch)
            return found

        return losses

    with started(inputs) as one:
        loss, expected = gradients(one)
    monkeypatch.setattr(training, "answer_losses", at_most(4))
    with started(inputs) as one:
        half_loss, found = gradients(one)
        assert seen == [8, 4, 4]
        assert (one.fit.rows, one.fit.reason) == (4, "memory ran out at step 0 with 8 rows at once")
    assert half_loss == pytest.approx(loss, rel=1e-2)
    tolerance = 0.1 if device == "cuda" else 1e-4
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() / gradient.norm() < tolerance, name
    monkeypatch.setattr(training, "answer_losses", at_most(3))
    with started(inputs) as one, pytest.raises(torch.OutOfMemoryError):
        gradients(one)


def test_what_fits_decides_how_much_is_computed_at_once(
    inputs: dict[str, Path], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, _ = examples.read_examples(inputs["data"] / "train.json")
    with started(inputs) as one:
        need = fit._need(one.base, rows)
        again = fit._need(one.base, rows)
        assert need == again, device
        width = max(len(row.ids) for row in rows)
        whole = need.of(8 * width, checkpointing=False)
        half = need.of(4 * width, checkpointing=False)
        single = need.of(width, checkpointing=False)
        choices = []
        for room in (2 * whole, 0.99 * whole, 0.99 * half, 0.99 * single, 1):
            free = room / fit._SHARE_OF_FREE
            monkeypatch.setattr(fit, "free_bytes", lambda _device, free=free: free)
            found = fit.plan_fit(one.base, rows, batch_size=8)
            choices.append((found.rows, found.checkpointing))
        monkeypatch.setattr(fit, "free_bytes", lambda _device: None)
        unknown = fit.plan_fit(one.base, rows, batch_size=8)
    assert choices[:3] == [(8, False), (4, False), (2, False)]
    assert choices[3][1]
    assert choices[4] == (1, True)
    assert (unknown.rows, unknown.checkpointing) == (8, False)
    assert "unknown" in unknown.reason


def test_a_checkpoint_made_in_parts_is_gone_on_with_in_parts(
    tmp_path: Path, inputs: dict[str, Path], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = fit.Fit(rows=4, checkpointing=False, reason="the test asks for it")
    monkeypatch.setattr(training, "plan_fit", lambda *_, **__: short)
    whole = train(tmp_path / "whole", inputs)
    train(tmp_path / "first", inputs, fraction=0.5)
    monkeypatch.undo()
    if device == "cpu":
        monkeypatch.setattr(compute, "training_compute", lambda: ON_CPU)
    last = train(tmp_path / "last", inputs | {"checkpoint": tmp_path / "first"})
    assert (last["rows_at_once"], last["fit_reason"]) == (4, "the checkpoint was trained so")
    assert last["losses"] == pytest.approx(whole["losses"], rel=1e-3 if device == "cuda" else 0)


# A batch of them takes much more than the libraries' workspaces, of which each stream gets some.
MANY = 256
LONG = [
    {"ids": tuple((7 * i + j) % 290 for j in range(400)), "answer_start": 390} for i in range(MANY)
]


@on_cuda
def test_the_memory_that_is_foreseen_is_about_what_a_batch_takes(inputs: dict[str, Path]) -> None:
    require_cuda()
    rows = [examples.Example(**row) for row in LONG]
    with started(inputs, replace(ADAPTER, batch_size=MANY), rows) as one:
        need = fit._need(one.base, rows).of(MANY * 400, checkpointing=False)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        gradients(one)
        taken = torch.cuda.max_memory_allocated() - before
    assert taken < need < 3 * taken


@on_cuda
def test_a_gpu_that_is_really_full_is_noticed_and_half_a_batch_goes_on(
    inputs: dict[str, Path],
) -> None:
    require_cuda()
    rows = [examples.Example(**row) for row in LONG]
    adapter = replace(ADAPTER, batch_size=MANY)
    with started(inputs, adapter, rows) as one:
        gradients(one)  # libraries take their own memory once
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss, _ = gradients(one)
        taken = torch.cuda.max_memory_allocated() - before
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_reserved()
    with started(inputs, adapter, rows) as one:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((held + 0.8 * taken) / total)
        try:
            half_loss, _ = gradients(one)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        assert one.fit.rows == MANY // 2
        assert f"memory ran out at step 0 with {MANY} rows" in one.fit.reason
    assert half_loss == pytest.approx(loss, rel=1e-2)
