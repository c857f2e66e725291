"""What a training says while it runs."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")

from importlib import import_module

import torch

from autotune.errors import DivergedError

training_log = import_module("autotune.passes.training_log")


def test_losses_are_kept_in_order_and_the_first_that_is_not_finite_ends_it() -> None:
    log = training_log.LossLog(name="lora-r4")
    for value in (2.5, 1.25):
        log.add(torch.tensor(value))
    assert log.values == [2.5, 1.25]
    with pytest.raises(DivergedError, match="it is nan at step 2 of lora-r4"):
        log.add(torch.tensor(math.nan))
    assert log.values == [2.5, 1.25]


def test_losses_of_a_gpu_are_read_in_groups_and_none_is_lost() -> None:
    log = training_log.LossLog(name="lora-r4")
    log._waiting += [torch.tensor(float(n)) for n in range(5)]
    assert log.values == []
    log.read()
    log.read()
    assert log.values == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_line_says_speed_share_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(training_log.time, "perf_counter", lambda: now[0])
    speed = training_log.SpeedLog(flops_per_token=1e6, flops_per_answer_token=1e7, peak=1e9)
    assert speed.tokens_per_s is None
    assert speed.peak_share is None
    speed.start()
    assert not speed.is_due
    for _ in range(10):
        now[0] += 2.0
        speed.add(tokens=400, answer_tokens=20)
    assert speed.is_due
    line = speed.line(step=10, stop=25, loss=1.23456)
    assert line == (
        "step 10 of 25: loss 1.235, 200 tokens/s, 30.0 % of the 1 GFLOP/s that matrix products"
        " reach here, about 30.0 s to go"
    )
    assert not speed.is_due
    speed.stop()
    now[0] += 1000.0
    assert speed.seconds == 20.0
    assert speed.line(step=10, stop=10, loss=1.0).endswith("reach here, 20.0 s")
