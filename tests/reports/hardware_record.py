"""A hardware report with every part, written by hand: what tests of the document start from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autotune.calibration import Control, DeviceCalibration, NoiseFloor, Unmeasured, make_rate
from autotune.candidate import Algorithm, Precision, Recipe
from autotune.measurement import Measurement
from autotune.reports import (
    Calibration,
    Census,
    CensusEntry,
    HardwareReport,
    Missing,
    ModelFacts,
    ReportedFact,
    ReportedTarget,
    ToolFacts,
    WorkloadFacts,
    sealed,
)
from autotune.steps import OutcomeStatus


def known(value: Any) -> ReportedFact:
    return ReportedFact(status="detected", value=value)


def device() -> DeviceCalibration:
    return DeviceCalibration(
        target="cpu",
        provider="CPUExecutionProvider",
        threads=2,
        rates=(
            make_rate(
                kind="memory_read",
                data_type="fp32",
                operator="numpy.maximum.reduce",
                shape=(260_000_000,),
                work=1_040_000_000,
                samples_s=(0.05, 0.04, 0.041),
            ),
            make_rate(
                kind="matrix_product",
                data_type="int4",
                operator="MatMulNBits",
                shape=(256, 1024, 4096),
                work=2 * 256 * 1024 * 4096,
                samples_s=(0.012, 0.011),
            ),
        ),
        unmeasured=(Unmeasured(what="MatMul bf16 1x2x3", reason="NotImplemented: no kernel"),),
        control=Control(work="MatMul", first=((0.01, 0.011),), second=((0.01, 0.012),)),
        seconds=9.5,
        notes=("the last-level cache holds 260 MB",),
    )


def calibration() -> Calibration:
    shares = {"load": known(0.1), "steal": known(0.0)}
    return Calibration(
        devices=(device(),),
        noise=(NoiseFloor(target="cpu", floor=0.013, ratio=1.002, ci95=(0.99, 1.01), rounds=12),),
        grade="A",
        grade_reasons=(),
        grade_rule="A: quiet",
        conditions={"before": {"load_1min": known(0.2)}, "during": shares},
        seconds=11.0,
    )


def census() -> Census:
    latency = Measurement(
        metric="tpot.p50", unit="s", value=0.0131, n=3, blocks=((0.013, 0.0131), (0.0132,))
    )
    int4 = Recipe(
        provider="cpu",
        precision=Precision.INT4,
        block_size=32,
        algorithm=Algorithm.K_QUANT,
        accuracy_level=4,
    )
    fp16 = Recipe(provider="cpu", precision=Precision.FP16)
    return sealed(
        Census(
            model=ModelFacts(spec="m", revision_or_digest="ab" * 20, architecture="Llama"),
            workload=WorkloadFacts(
                digest="cd" * 32, requests=64, kind="generation", statement="batch 1"
            ),
            entries=(
                CensusEntry(
                    name=int4.name,
                    recipe=int4,
                    target="cpu",
                    status=OutcomeStatus.MEASURED,
                    model_digest="ef" * 32,
                    metrics={"tpot.p50": latency},
                    unmeasured={"energy": "not measurable here: no counter is readable"},
                    floors={"tpot": 0.0045},
                ),
                CensusEntry(
                    name=fp16.name,
                    recipe=fp16,
                    target="cpu",
                    status=OutcomeStatus.UNSUPPORTED,
                    reason="fails at its first run",
                ),
            ),
            seed=0,
            rounds=2,
            method="two fresh processes per recipe",
        )
    )


def report(**changes: Any) -> HardwareReport:
    made = HardwareReport(
        created="2026-11-23T20:00:00Z",
        command=("autotune", "hardware"),
        tool=ToolFacts(
            name="autotune-slm",
            version="0.1.0",
            git_commit=known("a9087c5"),
            git_dirty=known(value=False),
        ),
        complete=True,
        missing=(Missing(field="processor.max_frequency_hz", reason="not reported"),),
        asserted={"label": ReportedFact(status="asserted", value="edge <box>")},
        device="Some CPU, 2 usable cores",
        hardware={
            "processor": {
                "model": known("Some CPU"),
                "isa": known(["avx2", "avx512_vnni"]),
                "cache_bytes": known({"l2": 2_097_152, "l3": 272_629_760}),
                "max_frequency_hz": ReportedFact(status="unknown", reason="not reported"),
            },
            "memory": {
                "swap_total_bytes": known(0),
                "limit_bytes": ReportedFact(status="not_applicable", reason="no group limits it"),
            },
        },
        accelerators={"nvidia": ReportedFact(status="not_applicable", reason="no driver")},
        targets=(
            ReportedTarget(
                name="cpu",
                provider="CPUExecutionProvider",
                status="proven",
                nodes={"CPUExecutionProvider": 1},
                versions={"onnxruntime": "1.32.0"},
            ),
            ReportedTarget(
                name="webgpu",
                provider="WebGpuExecutionProvider",
                status="fell_back",
                reason="it left its node to another provider",
            ),
        ),
        conflicts=(),
        calibration=calibration(),
        census=census(),
        versions={"numpy": "2.3.0"},
        method=("A provider is proven by a node that ran.",),
    )
    return replace(made, **changes)
