"""A bundle: built here by the real builder, measured by a command that cannot have torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest

from autotune.bundle import open_bundle, write_bundle
from autotune.candidate import Precision
from autotune.census import CensusScope, Workshop, build_every, open_workshop
from autotune.census_bundle import BundleRequest, run_bundle_census, run_export
from autotune.census_entries import CensusFiles
from autotune.config import Bounds, RunConfig, resolve_config
from autotune.errors import AutotuneError, HardwareError, OutputError, StoreError, UsageError
from autotune.evaluators import measure_size
from autotune.measurement import Measurement
from autotune.plain import to_plain
from autotune.reports import (
    CensusEntry,
    json_schema,
    load_bundle,
    load_hardware_report,
    write_json_atomic,
    write_sums,
)
from autotune.steps import OutcomeStatus

_PRECISIONS = (Precision.FP32, Precision.INT8)
# What a machine that only measures need not have.
_BUILDERS = ("torch", "transformers", "peft", "onnx_ir", "onnx", "safetensors", "accelerate")
_NO_BUILDERS = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {_BUILDERS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def _config(model: Path, folder: Path) -> RunConfig:
    rows = [f"news of day {i},{('joy', 'fear')[i % 2]}\n" for i in range(90)]
    (folder / "rows.csv").write_text("text,tone\n" + "".join(rows), encoding="utf-8")
    return resolve_config(
        target="cpu",
        model=str(model),
        data=str(folder / "rows.csv"),
        template=r"{text}\nTone: {tone}",
        kind=None,
        validation_data=None,
        test_data=None,
        bounds=Bounds(),
        budget=None,
        trials=1,
        sampler="tpe",
        seed=3,
        trust_remote_code=False,
    )


def _with_two_recipes(workshop: Workshop) -> Workshop:
    settings = workshop.session.settings
    few = tuple(
        next(one for one in settings.recipes if one.precision is precision)
        for precision in _PRECISIONS
    )
    session = replace(workshop.session, settings=settings.with_recipes(few))
    return replace(workshop, session=session)


@pytest.fixture(scope="module")
def exported(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two builds for the processor, one for a provider that is not here; read only."""
    for module in ("onnx_ir", "onnxruntime_genai"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed (extra 'cpu')")
    folder = tmp_path_factory.mktemp("export")
    with open_workshop(_config(tiny_model_dir, folder)) as opened:
        workshop = _with_two_recipes(opened)
        tried = build_every(workshop)
        elsewhere = replace(tried[0], recipe=replace(tried[0].recipe, provider="cuda"))
        write_bundle(
            folder / "bundle",
            workshop.session,
            (*tried, elsewhere),
            requests_per_block=workshop.bench.requests_per_block,
        )
    assert sorted(path.name for path in folder.iterdir()) == ["bundle", "rows.csv"]
    return folder / "bundle"


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(exported, tmp_path / "bundle")


def test_a_bundle_says_what_it_holds_and_leaves_the_store_behind(exported: Path) -> None:
    data = json.loads((exported / "bundle.json").read_text(encoding="utf-8"))
    jsonschema.validate(data, json_schema("bundle-1.0"))
    opened = open_bundle(exported)
    assert opened.bundle == load_bundle(exported)
    assert [one.recipe.precision for one in opened.bundle.recipes[:2]] == list(_PRECISIONS)
    assert len(opened.workload.rows.rows) == 64
    assert list(exported.rglob("manifest.json")) == []
    for one in opened.bundle.recipes:
        assert {"accuracy", "nll", "size"} <= set(one.metrics)
        assert one.metrics["size"].value == measure_size(exported / one.folder).value


@pytest.fixture(scope="module")
def torchless(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine that has the core and the runtime, and no store."""
    folder = tmp_path_factory.mktemp("torchless")
    (folder / "sitecustomize.py").write_text(_NO_BUILDERS, encoding="utf-8")
    return {
        **os.environ,
        "PYTHONPATH": str(folder),
        "AUTOTUNE_CACHE": str(folder / "no-store"),
        "HF_HOME": str(folder / "no-hub"),
    }


@pytest.mark.parametrize("module", _BUILDERS)
def test_the_measuring_machine_of_these_tests_cannot_import(
    module: str, torchless: dict[str, str]
) -> None:
    command = [sys.executable, "-c", f"import {module}"]
    done = subprocess.run(command, env=torchless, capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError: No module named" in done.stderr


def test_a_bundle_is_measured_without_torch_and_without_a_store(
    exported: Path, torchless: dict[str, str], tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in exported.rglob("*")}
    command = [sys.executable, "-m", "autotune", "census", str(exported), "--no-calibration"]
    command += ["--output", str(tmp_path / "edge.json"), "--max-latency", "60s"]
    done = subprocess.run(
        command, env=torchless, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert not Path(torchless["AUTOTUNE_CACHE"]).exists()
    assert {path: path.stat().st_mtime_ns for path in exported.rglob("*")} == before
    report = load_hardware_report(tmp_path / "edge.json")
    jsonschema.validate(to_plain(report), json_schema("hardware-1.0"))
    assert report.census is not None
    shipped = load_bundle(exported)
    assert report.census.workload == shipped.workload
    assert report.census.model == shipped.model
    assert report.census.seed == 3
    for entry, one in zip(report.census.entries[:2], shipped.recipes[:2], strict=True):
        assert (entry.recipe, entry.status) == (one.recipe, OutcomeStatus.MEASURED)
        assert entry.model_digest == one.digest
        assert {"latency.p95", "ttft.p95", "load", "memory", "size"} <= set(entry.metrics)
        assert entry.metrics["latency.p95"].n == 64
        assert [bound.verdict for bound in entry.bounds] == ["pass"]
        _taken_elsewhere(entry, one.metrics)


def _taken_elsewhere(entry: CensusEntry, shipped: dict[str, Measurement]) -> None:
    """Scores come with the bundle and say so; what was measured here does not."""
    for name in ("accuracy", "nll"):
        assert entry.metrics[name].value == shipped[name].value
        assert entry.metrics[name].method.startswith("on the machine that built it (cpu: ")
    assert not entry.metrics["latency.p95"].method.startswith("on the machine")
    assert not entry.metrics["size"].method.startswith("on the machine")


def test_a_recipe_whose_provider_is_not_here_stays_in_with_the_reason(
    exported: Path, tmp_path: Path
) -> None:
    path = tmp_path / "edge.json"
    request = BundleRequest(calibrates=False, rounds=2)
    assert run_bundle_census(exported, request, CensusFiles(output=path)) == 0
    census = load_hardware_report(path).census
    assert census is not None
    *_, absent = census.entries
    if absent.status is OutcomeStatus.MEASURED:
        pytest.skip("CUDA is usable here")
    assert (absent.target, absent.status) == ("cuda", OutcomeStatus.UNSUPPORTED)
    assert "'cuda' is not usable here: " in absent.reason
    assert "latency.p95" not in absent.metrics


def _flip_a_byte(bundle: Path) -> None:
    weights = next(bundle.rglob("model.onnx.data"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)


def _drop_a_file(bundle: Path) -> None:
    next(bundle.rglob("tokenizer.json")).unlink()


def _add_a_file(bundle: Path) -> None:
    (next(bundle.glob("models/*")) / "extra.onnx").write_bytes(b"x")


def _truncate(bundle: Path) -> None:
    path = bundle / "bundle.json"
    path.write_bytes(path.read_bytes()[:-200])


def _drop_the_sums(bundle: Path) -> None:
    (bundle / "SHA256SUMS").unlink()


def _rewrite(bundle: Path, change: Callable[[dict[str, object]], None]) -> None:
    path = bundle / "bundle.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    write_json_atomic(path, data)
    write_sums(bundle)


def _other_version(bundle: Path) -> None:
    _rewrite(bundle, lambda data: data.update(schema_version="2.0"))


def _other_requests(bundle: Path) -> None:
    def swap(data: dict[str, object]) -> None:
        requests = data["requests"]
        assert isinstance(requests, dict)
        requests["rows"] = requests["rows"][::-1]

    _rewrite(bundle, swap)


def _way_out(bundle: Path) -> None:
    def lead_out(data: dict[str, object]) -> None:
        recipes = data["recipes"]
        assert isinstance(recipes, list)
        recipes[0]["folder"] = "../elsewhere"

    _rewrite(bundle, lead_out)


def _other_build(bundle: Path) -> None:
    _drop_a_file(bundle)
    write_sums(bundle)


def _only_a_model(bundle: Path) -> None:
    (bundle / "bundle.json").unlink()
    write_sums(bundle)


@pytest.mark.parametrize(
    ("harm", "error", "words"),
    [
        (_flip_a_byte, StoreError, r"model.onnx.data' was .* is now .* Nothing was run"),
        (_drop_a_file, StoreError, r"tokenizer.json' was .* is not there"),
        (_add_a_file, StoreError, "extra.onnx"),
        (_truncate, StoreError, r"'bundle.json' was .* is now"),
        (_drop_the_sums, StoreError, "has lost it"),
        (_other_requests, StoreError, "requests"),
        (_other_build, StoreError, "not those that were built"),
        (_other_version, UsageError, "schema version '2.0'"),
        (_way_out, UsageError, "a build lies under its recipe's name"),
        (_only_a_model, UsageError, "autotune census --export"),
    ],
)
def test_a_bundle_that_is_not_what_was_written_is_refused_before_anything_runs(
    bundle: Path,
    tmp_path: Path,
    harm: Callable[[Path], None],
    error: type[AutotuneError],
    words: str,
) -> None:
    harm(bundle)
    output = tmp_path / "edge.json"
    with pytest.raises(error, match=words) as caught:
        run_bundle_census(bundle, BundleRequest(), CensusFiles(output=output))
    assert caught.value.exit_code == (4 if error is StoreError else 2)
    assert not output.exists()


def test_a_report_that_exists_is_kept(exported: Path, tmp_path: Path) -> None:
    kept = tmp_path / "edge.json"
    kept.write_text("mine")
    with pytest.raises(OutputError, match="nothing is overwritten"):
        run_bundle_census(exported, BundleRequest(), CensusFiles(output=kept))
    assert kept.read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="DirectML may be here")
def test_graphs_for_a_provider_that_is_not_here_are_built_into_a_bundle(
    tiny_model_dir: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del exported  # skips where the builder is absent
    config = replace(_config(tiny_model_dir, tmp_path), target="directml")
    name = "dml-int4-b32-acc0"
    assert run_export(config, tmp_path / "bundle", CensusScope(recipes=(name,))) == 0
    assert "directml is not usable here" in capsys.readouterr().err
    (one,) = open_bundle(tmp_path / "bundle").bundle.recipes
    assert (one.recipe.name, one.status) == (name, "measured")
    assert one.metrics["accuracy"].method.startswith("proxy: scored as cpu-int4-b32")
    folder = tmp_path / "bundle" / one.folder
    assert one.metrics["size"].value == measure_size(folder).value
    config_there = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    options = config_there["model"]["decoder"]["session_options"]["provider_options"]
    assert [list(option) for option in options] == [["dml"]]
    # For everything but a bundle the provider has to be here.
    with (
        pytest.raises(HardwareError, match="'directml' is not usable here"),
        open_workshop(config),
    ):
        pass


def test_an_export_goes_to_a_new_folder_in_one_that_exists(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    config = _config(tiny_model_dir, tmp_path)
    (tmp_path / "taken").mkdir()
    for name in ("taken", "nowhere/bundle"):
        with pytest.raises(OutputError, match="choose another name"):
            run_export(config, tmp_path / name)
    assert list((tmp_path / "taken").iterdir()) == []


def test_a_census_of_some_recipes_and_requests_takes_no_others(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    config = _config(tiny_model_dir, tmp_path)
    scope = CensusScope(recipes=("cpu-int8-b3*", "*-fp32"), requests=5)
    with open_workshop(config, scope) as workshop:
        names = [recipe.name for recipe in workshop.session.settings.recipes]
        assert names == ["cpu-int8-b32", "cpu-fp32"]
        assert workshop.bench.requests_per_block == 5
    unknown = CensusScope(recipes=("cpu-int3",))
    with (
        pytest.raises(UsageError, match=r"no recipe 'cpu-int3' here \(known: cpu-int4-b128, "),
        open_workshop(config, unknown),
    ):
        pass


def test_a_bundle_without_any_provider_of_this_machine_is_a_hardware_error(bundle: Path) -> None:
    def only_elsewhere(data: dict[str, object]) -> None:
        recipes = data["recipes"]
        assert isinstance(recipes, list)
        for one in recipes[:2]:
            one.update(status="crashed", reason="it was too large", folder="", digest="")

    _rewrite(bundle, only_elsewhere)
    with pytest.raises(HardwareError, match="holds builds for cuda, the targets here are cpu"):
        run_bundle_census(bundle, BundleRequest(target="cpu"), CensusFiles())
