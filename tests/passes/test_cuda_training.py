"""Training where it runs on a GPU, and the same code on the processor.

``pytest -m cuda`` runs the half that needs a GPU; ``AUTOTUNE_REQUIRE_CUDA=1`` makes its
absence a failure.
"""

from __future__ import annotations

import hashlib
import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("peft", reason="extra 'train' is not installed")

import torch
from safetensors.torch import load_file

from autotune.candidate import AdapterConfig, MergeBase
from autotune.errors import DivergedError
from autotune.passes import FinetunePass, MergePass

from .training_data import write_training_data

# Modules behind the folder's front door.
base_model, compute, examples, fit, lora, merging, replay, training = (
    import_module(f"autotune.passes.{name}")
    for name in (
        *("base_model", "compute", "examples", "fit", "lora", "merging", "replay", "training"),
    )
)

# Read once per process, when cuBLAS multiplies for the first time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

ADAPTER = AdapterConfig(rank=4, learning_rate=5e-3, epochs=4, batch_size=8, seed=3)
on_cuda = pytest.mark.cuda
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=on_cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The device that the test trains on, whatever else this machine has."""
    name: str = request.param
    if name == "cuda":
        require_cuda()
        return name
    on_cpu = compute.Compute(device="cpu", dtype=torch.float32, reason="the test asks for it")
    monkeypatch.setattr(compute, "training_compute", lambda: on_cpu)
    return name


def require_cuda() -> None:
    if torch.cuda.is_available():
        return
    reason = f"torch {torch.__version__} sees no CUDA device here"
    if os.environ.get("AUTOTUNE_REQUIRE_CUDA") == "1":
        pytest.fail(f"{reason}, and AUTOTUNE_REQUIRE_CUDA asks for one")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def inputs(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    data = write_training_data(tmp_path_factory.mktemp("data"))
    return {"model": tiny_model_dir, "data": data}


def train(
    folder: Path, inputs: dict[str, Path], adapter: AdapterConfig = ADAPTER, fraction: float = 1.0
) -> dict[str, Any]:
    folder.mkdir()
    return FinetunePass(adapter=adapter, fraction=fraction).run(inputs, folder)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


@contextmanager
def started(
    inputs: dict[str, Path], adapter: AdapterConfig = ADAPTER, rows: Any = None
) -> Iterator[Any]:
    """A training that has not begun."""
    used = compute.training_compute()
    base = base_model.training_base(inputs["model"], adapter.method, used)
    if rows is None:
        rows, _ = examples.read_examples(inputs["data"] / "train.json")
    with lora.adapted(base, adapter) as model:
        yield training.Training(base=base, peft_model=model, adapter=adapter, examples=rows)


def gradients(one: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the first batch, by single kernels.

    B is drawn first, since it starts at zero.
    """
    one.recordings = None
    for number, weight in enumerate(one.weights.values()):
        torch.manual_seed(number)
        weight.data.copy_(torch.randn(weight.shape) * 0.05)
    with (
        training.repeatable(one.base.device),
        training._checkpointing(one.base, one.fit.checkpointing),
    ):
        base_model.set_training(one.base, is_training=True)
        _, indices = next(one.plan.batches(0, 1))
        loss = one._gradients(0, [one.examples[i] for i in indices])
    return loss.item(), {name: w.grad.float().cpu() for name, w in one.weights.items()}


def test_a_training_learns_and_says_what_it_ran_on(
    tmp_path: Path, inputs: dict[str, Path], device: str
) -> None:
    facts = train(tmp_path / "out", inputs, replace(ADAPTER, learning_rate=1e-2, epochs=8))
    assert statistics.fmean(facts["losses"][-5:]) < facts["losses"][0] / 3
    assert facts["device"] == device
    assert facts["rows_at_once"] == ADAPTER.batch_size
    assert not facts["checkpointing"]
    assert "are free" in facts["fit_reason"]
    assert facts["not_repeatable"] == ""
    assert 0 < facts["peak_share"] < 1
    if device == "cuda":
        assert facts["device_model"] == torch.cuda.get_device_name()
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        assert facts["dtype"] == ("bfloat16" if has_bf16 else "float32")


def test_a_training_in_three_parts_equals_one_in_a_single_run(
    tmp_path: Path, inputs: dict[str, Path], device: str
) -> None:
    whole = train(tmp_path / "whole", inputs)
    train(tmp_path / "first", inputs, fraction=1 / 3)
    train(tmp_path / "second", inputs | {"checkpoint": tmp_path / "first"}, fraction=2 / 3)
    last = train(tmp_path / "last", inputs | {"checkpoint": tmp_path / "second"})
    assert last["steps"] == whole["steps"] == len(last["losses"])
    assert last["losses"] == pytest.approx(whole["losses"], rel=1e-3 if device == "cuda" else 0)
    expected = weights_of(tmp_path / "whole")
    for name, weight in weights_of(tmp_path / "last").items():
        assert weight.dtype is torch.float32
        torch.testing.assert_close(weight, expected[name], rtol=1e-2, atol=1e-4)
    moments = load_file(tmp_path / "last" / "optimizer.safetensors")
    assert all(moment.isfinite().all() for moment in moments.values())


def test_the_same_seed_gives_the_same_bits(
    tmp_path: Path, inputs: dict[str, Path], device: str
) -> None:
    def digest(name: str) -> str:
        facts = train(tmp_path / name, inputs)
        assert facts["not_repeatable"] == "", device
        file = tmp_path / name / "adapter" / "adapter_model.safetensors"
        return hashlib.sha256(file.read_bytes()).hexdigest()

    assert digest("one") == digest("two")


def test_an_adapter_starts_the_same_on_every_device_and_in_every_type(
    inputs: dict[str, Path], device: str
) -> None:
    starts = []
    for place, dtype in (("cpu", torch.float32), ("cpu", torch.bfloat16), (device, torch.bfloat16)):
        base = base_model.load_model(inputs["model"], dtype).to(place)
        with lora.adapted(base, ADAPTER) as model:
            weights = lora.lora_weights(model).items()
            assert {w.device.type for _, w in weights} == {place}
            starts.append({name: w.detach().cpu().clone() for name, w in weights})
    for other in starts[1:]:
        torch.testing.assert_close(other, starts[0], rtol=0, atol=0)
    assert any(w.abs().max() > 0 for w in starts[0].values())


def test_a_training_that_blows_up_says_so(
    tmp_path: Path, inputs: dict[str, Path], device: str
) -> None:
    with pytest.raises(DivergedError, match=r"at step \d+ of .* lower learning rate"):
        train(tmp_path / device, inputs, replace(ADAPTER, learning_rate=1e30))


@needs_bitsandbytes
def test_qlora_learns_and_merges_into_either_base(
    tmp_path: Path, inputs: dict[str, Path], device: str
) -> None:
    adapter = replace(ADAPTER, method="qlora", learning_rate=1e-2, epochs=6)
    facts = train(tmp_path / "trained", inputs, adapter)
    assert statistics.fmean(facts["losses"][-4:]) < facts["losses"][0] / 2
    base = base_model.training_base(inputs["model"], "qlora", compute.training_compute())
    ids = merging.probe_ids(300, first=0).to(device)
    with lora.adapted(base, adapter) as model, torch.no_grad():
        lora.load_adapter(model, tmp_path / "trained" / "adapter")
        trained_on = base(input_ids=ids, use_cache=False).logits.float().cpu()
    distances = {}
    bases: tuple[MergeBase, ...] = ("full", "dequantized")
    for merge_base in bases:
        out = tmp_path / merge_base
        out.mkdir()
        artifacts = {"model": inputs["model"], "adapter": tmp_path / "trained"}
        merged = MergePass(merge_base=merge_base).run(artifacts, out)
        assert 0 < merged["logit_difference"]["float32"] < 1e-3
        with torch.no_grad():
            found = base_model.load_model(out, torch.float32)(input_ids=ids.cpu()).logits
        distances[merge_base] = ((found - trained_on).std() / trained_on.std()).item()
    # In bfloat16 the rounding of the training's own products is part of both.
    limit = 0.1 if facts["dtype"] == "float32" else 0.5
    assert distances["dequantized"] < limit * distances["full"]


@needs_bitsandbytes
def test_qlora_goes_on_where_it_stopped(
    tmp_path: Path, inputs: dict[str, Path], device: str
) -> None:
    adapter = replace(ADAPTER, method="qlora")
    whole = train(tmp_path / "whole", inputs, adapter)
    train(tmp_path / "first", inputs, adapter, 0.4)
    last = train(tmp_path / "last", inputs | {"checkpoint": tmp_path / "first"}, adapter)
    assert last["losses"] == pytest.approx(whole["losses"], rel=1e-2 if device == "cuda" else 0)


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


def test_a_padded_batch_has_the_loss_and_the_gradients_of_the_batch(
    inputs: dict[str, Path], device: str
) -> None:
    with started(inputs, replace(ADAPTER, batch_size=7)) as one:
        loss, expected = gradients(one)
        one.optimizer.zero_grad()
        batch = [one.examples[i] for i in next(one.plan.batches(0, 1))[1]]
        padded = replay.PaddedBatch.of(batch, rows=8, device=one.base.device)
        assert padded.ids.shape[0] == 8
        assert padded.shape == (32, 16)
        found = padded.loss(one.base)
        torch.autograd.backward(found)
        assert len(batch) < 8
        tolerance = 0.1 if device == "cuda" else 1e-4
        assert found.item() == pytest.approx(loss, rel=tolerance)
        for name, weight in one.weights.items():
            difference = (weight.grad.float().cpu() - expected[name]).norm()
            assert difference / expected[name].norm() < tolerance, name


def test_steps_are_replayed_on_a_gpu_alone(inputs: dict[str, Path], device: str) -> None:
    with started(inputs) as one:
        assert (one.recordings is not None) == (device == "cuda")
        assert bool(one.not_replayed) == (device == "cpu")
    with started(inputs, replace(ADAPTER, dropout=0.1)) as one:
        assert one.recordings is None


@on_cuda
def test_replayed_steps_learn_what_single_kernels_do(inputs: dict[str, Path]) -> None:
    require_cuda()
    losses, speeds = [], []
    for is_replayed in (False, True):
        with started(inputs, replace(ADAPTER, epochs=20)) as one:
            if not is_replayed:
                one.recordings = None
            one.advance(one.plan.total_steps)
            assert one.not_replayed == ""
            assert one.not_repeatable == ""
            if is_replayed:
                assert len(one.recordings) >= 1
            losses.append(list(one.losses))
            speeds.append(one.speed.tokens_per_s)
    print(f"tokens/s by single kernels and replayed: {speeds}")
    assert losses[1][:5] == pytest.approx(losses[0][:5], rel=0.05)
    assert statistics.fmean(losses[1][-10:]) == pytest.approx(
        statistics.fmean(losses[0][-10:]), rel=0.2, abs=0.05
    )


LONG = [
    {"ids": tuple((7 * i + j) % 290 for j in range(400)), "answer_start": 390} for i in range(64)
]


@on_cuda
def test_the_memory_that_is_foreseen_is_about_what_a_batch_takes(inputs: dict[str, Path]) -> None:
    require_cuda()
    rows = [examples.Example(**row) for row in LONG]
    with started(inputs, replace(ADAPTER, batch_size=64), rows) as one:
        need = fit._need(one.base, rows).of(64 * 400, checkpointing=False)
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
    adapter = replace(ADAPTER, batch_size=64)
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
        assert one.fit.rows == 32
        assert "memory ran out at step 0 with 64 rows" in one.fit.reason
    assert half_loss == pytest.approx(loss, rel=1e-2)
