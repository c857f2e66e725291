"""Targets are proven by a session that ran; what is not here is named with a way out."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune.candidate import Precision
from autotune.errors import HardwareError, UsageError
from autotune.targets import (
    RUNTIME_FLAVOURS,
    Architecture,
    Family,
    Job,
    LocalExecutor,
    detect,
    families,
    family_named,
    find_conflicts,
    not_applicable,
    resolve_targets,
    survey,
)

from .some_gpu import some_gpu

needs_runtime = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_genai") is None,
    reason="onnxruntime-genai is not installed",
)
ARCHITECTURE = Architecture(
    name="LlamaForCausalLM",
    layers=2,
    hidden_size=64,
    vocab_size=131,
    tied_embeddings=True,
    context_length=128,
    parameters=100_000,
)


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor() as made:
        yield made


def azure() -> Family:
    """The CPU wheel contains this provider, and it leaves every node to the processor."""
    return dataclasses.replace(
        family_named("cpu"), name="azure", onnxruntime_name="AzureExecutionProvider"
    )


@needs_runtime
def test_the_processor_is_proven_by_a_node_that_ran_on_it(executor: LocalExecutor) -> None:
    (target,) = resolve_targets("cpu", executor)
    assert (target.name, target.provider, target.interpreter) == ("cpu", "cpu", sys.executable)
    facts = target.facts()
    assert facts["processor.usable_cores"] > 0
    assert facts["onnxruntime"].split(".")[0] == "1"
    recipes, refusals = target.recipes(ARCHITECTURE)
    assert Precision.INT4 in {recipe.precision for recipe in recipes}
    assert all(refusal.reason for refusal in refusals)


@needs_runtime
def test_auto_is_what_detect_finds(executor: LocalExecutor) -> None:
    names = [target.name for target in detect(executor)]
    assert names[0] == "cpu"
    assert [target.name for target in resolve_targets("auto", executor)] == names


@needs_runtime
def test_every_family_has_a_finding_with_a_target_or_a_reason(executor: LocalExecutor) -> None:
    findings = survey(executor)
    assert [finding.family.name for finding in findings] == list(families())
    for finding in findings:
        assert (finding.target is not None) == (finding.status == "proven")
        assert bool(finding.reason) == (finding.target is None)


@needs_runtime
def test_a_silent_fallback_to_the_processor_is_found(executor: LocalExecutor) -> None:
    known = [*families().values(), azure()]
    findings = {one.family.name: one for one in survey(executor, known=known)}
    assert findings["azure"].status == "fell_back"
    with pytest.raises(HardwareError, match="left its node to another provider") as caught:
        resolve_targets("cpu,azure", executor, known=known)
    assert caught.value.exit_code == 3


@needs_runtime
@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_genai.cuda") is not None,
    reason="a CUDA build is installed",
)
def test_cuda_with_the_processors_wheel_says_what_exists_and_what_to_install(
    executor: LocalExecutor,
) -> None:
    if any(target.name == "cuda" for target in detect(executor)):
        pytest.skip("CUDA is usable here")
    with pytest.raises(HardwareError) as caught:
        resolve_targets("cuda", executor)
    message = str(caught.value)
    for part in (
        "'cuda' is not usable here",
        "usable: cpu",
        'pip install "autotune-slm[cuda]"',
        "--target cuda@/path/to/python",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("provider", "kind"),
    [("CUDAExecutionProvider", "not_in_build"), ("AzureExecutionProvider", "fell_back")],
)
@needs_runtime
def test_the_proof_tells_why_a_provider_did_not_run(
    executor: LocalExecutor, provider: str, kind: str
) -> None:
    result = executor.run(
        Job(name="p", entry="autotune.targets.prove_child", payload={"provider": provider})
    )
    if result.status == "ok" or "Cuda" in result.error:
        pytest.skip(f"{provider} is usable here")
    assert result.error.startswith(f"{kind}: ")


def test_words_of_the_runtime_are_shown_without_folders_of_this_machine() -> None:
    ending: Any = importlib.import_module("autotune.targets.detect")._ending
    message = (
        "/build/bridge.cc:2043 Failed to load library /opt/x/lib/libprovider.so with error:\n"
        " libcublas.so.13: no such file, see https://onnxruntime.ai/docs/requirements.html."
    )
    assert ending(message) == (
        "bridge.cc:2043 Failed to load library libprovider.so with error:"
        " libcublas.so.13: no such file, see https://onnxruntime.ai/docs/requirements.html"
    )


@needs_runtime
def test_a_type_without_a_kernel_is_refused_in_the_runtimes_words(
    executor: LocalExecutor,
) -> None:
    """The CPU provider has no product in bfloat16, and one in half precision."""
    provider = "CPUExecutionProvider"
    payload = {"provider": provider, "types": ["fp16", "bf16"]}
    result = executor.run(Job(name="p", entry="autotune.targets.prove_child", payload=payload))
    assert result.status == "ok", result.error
    assert set(result.value["refused_types"]) == {"bf16"}
    assert "Could not find an implementation for MatMul" in result.value["refused_types"]["bf16"]


@needs_runtime
def test_a_gpu_beside_the_processors_wheel_is_pointed_out(executor: LocalExecutor) -> None:
    gpus = some_gpu(name="NVIDIA L4", driver="580.159")
    (found,) = survey(executor, known=[family_named("cuda")], read_gpus=lambda: gpus)
    if found.status != "absent":
        pytest.skip("a CUDA build is installed")
    assert "this machine has NVIDIA L4 with driver 580.159" in found.reason
    assert "--target cuda@/path/to/python" in found.reason
    (plain,) = survey(
        executor, known=[family_named("cuda")], read_gpus=lambda: not_applicable("none")
    )
    assert "this machine has" not in plain.reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cdua", r"did you mean 'cuda'\?"),
        ("dml", r"did you mean 'directml'\?"),
        ("CPU", r"did you mean 'cpu'\?"),
        ("quantum", "known: auto, cpu, cuda"),
        ("auto,cpu", "'auto' stands alone"),
        ("", "A target is a name"),
        ("cpu,", "A target is a name"),
        ("cuda@", "A target is a name"),
        ("cpu,cpu@/usr/bin/python3", "named once"),
    ],
)
def test_an_unknown_or_malformed_target_is_a_usage_error(
    executor: LocalExecutor, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        resolve_targets(text, executor)
    assert caught.value.exit_code == 2


def test_an_interpreter_that_cannot_run_is_named(executor: LocalExecutor) -> None:
    with pytest.raises(HardwareError, match="'/no/such/python' cannot be run"):
        resolve_targets("cpu@/no/such/python", executor)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A virtual environment with nothing in it, and its folder for packages."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    answer = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return python, Path(answer.stdout.strip())


def test_without_onnxruntime_the_extra_to_install_is_named(
    executor: LocalExecutor, bare_python: tuple[Path, Path]
) -> None:
    with pytest.raises(HardwareError, match="no onnxruntime is installed") as caught:
        resolve_targets(f"cpu@{bare_python[0]}", executor)
    assert 'pip install "autotune-slm[cpu]"' in str(caught.value)


def install_metadata(folder: Path, name: str, version: str, module: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{module}/__init__.py,,\n")


def test_two_flavours_in_one_interpreter_are_refused_with_the_commands_that_mend_it(
    tmp_path: Path,
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    python = tmp_path / "v" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    (packages,) = (tmp_path / "v").rglob("site-packages")
    for name, version, module in (
        ("onnxruntime", "1.32.0", "onnxruntime"),
        ("onnxruntime-gpu", "1.31.1", "onnxruntime"),
        ("onnxruntime-genai-cuda", "0.18.0", "onnxruntime_genai"),
    ):
        install_metadata(packages, name, version, module)
    with LocalExecutor() as executor, pytest.raises(HardwareError) as caught:
        resolve_targets(f"cuda@{python}", executor)
    message = str(caught.value)
    assert f"{python} -m pip uninstall -y onnxruntime onnxruntime-gpu" in message
    assert f"{python} -m pip install --no-deps onnxruntime-gpu==1.31.1" in message


@pytest.mark.parametrize(
    ("owners", "wanted", "kept"),
    [
        ({"onnxruntime": ["onnxruntime"]}, (), []),
        ({"onnxruntime": []}, (), []),
        ({"onnxruntime": ["onnxruntime", "onnxruntime-gpu"]}, (), ["onnxruntime-gpu"]),
        ({"onnxruntime": ["onnxruntime", "onnxruntime-gpu"]}, ("onnxruntime",), ["onnxruntime"]),
        (
            {
                "onnxruntime": ["onnxruntime", "onnxruntime-directml"],
                "onnxruntime_genai": ["onnxruntime-genai", "onnxruntime-genai-directml"],
            },
            (),
            ["onnxruntime-directml", "onnxruntime-genai-directml"],
        ),
    ],
)
def test_a_conflict_keeps_what_is_wanted_or_the_most_special_flavour(
    owners: dict[str, list[str]], wanted: tuple[str, ...], kept: list[str]
) -> None:
    versions = {name: "1.0" for names in owners.values() for name in names}
    found = find_conflicts(owners=owners, versions=versions, interpreter="python", wanted=wanted)
    assert [conflict.keep for conflict in found] == kept


def test_capabilities_name_the_versions_that_shape_results(executor: LocalExecutor) -> None:
    here: dict[str, Any] = executor.capabilities()
    assert here["versions"]["autotune-slm"]
    assert here["versions"]["numpy"]
    assert here["device_class"]
    assert set(here["owners"]) == set(RUNTIME_FLAVOURS)


def test_capabilities_can_be_asked_of_another_interpreter(
    executor: LocalExecutor, bare_python: tuple[Path, Path]
) -> None:
    there = executor.capabilities(str(bare_python[0]))
    assert there["versions"] == {}
    assert there["device_class"] == executor.capabilities()["device_class"]


def test_the_registry_agrees_with_the_flavours_and_has_sources() -> None:
    flavours = {name for names in RUNTIME_FLAVOURS.values() for name in names}
    for family in families().values():
        assert family.source.startswith("https://")
        assert {*family.runtimes, *family.genai} <= flavours
        assert family.install


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, autotune.targets; "
        "print([m for m in ('torch', 'onnxruntime', 'psutil', 'onnxruntime_genai', 'numpy')"
        " if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
