"""What every test runs under: a home of its own, no network, one thread per maths library.

The environment is set before any test module is imported, since several libraries
read theirs at import. Tests that need a local server mark ``enable_socket``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from .tiny_model import make_tiny_model

if TYPE_CHECKING:
    from autotune.targets import Target

_HOME = pytest.StashKey[Path]()
# Machines are shared: an example that takes a second is no failure. What hypothesis does by
# itself where a CI runs it stays in force.
settings.register_profile("shared-machine", parent=settings(), deadline=None)
settings.load_profile("shared-machine")


def pytest_configure(config: pytest.Config) -> None:
    """Redirect home and caches to a fresh folder; switch telemetry and hubs off."""
    home = Path(tempfile.mkdtemp(prefix="autotune-tests-"))
    config.stash[_HOME] = home
    for variable, folder in {
        "HOME": "home",
        "XDG_CACHE_HOME": "cache",
        "XDG_DATA_HOME": "data",
        "XDG_CONFIG_HOME": "config",
        "AUTOTUNE_CACHE": "store",
        "HF_HOME": "huggingface",
    }.items():
        (home / folder).mkdir()
        os.environ[variable] = str(home / folder)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    config.option.disable_socket = True
    config.option.allow_unix_socket = True


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the home of this run."""
    shutil.rmtree(config.stash[_HOME], ignore_errors=True)


@pytest.fixture(scope="session")
def webgpu_python() -> str:
    """Interpreter with onnxruntime-webgpu (``scripts/webgpu-env`` makes one and says its name)."""
    named = os.environ.get("AUTOTUNE_WEBGPU_PYTHON", "")
    if not named:
        reason = "AUTOTUNE_WEBGPU_PYTHON names no interpreter (see scripts/webgpu-env)"
        if os.environ.get("AUTOTUNE_REQUIRE_WEBGPU") == "1":
            pytest.fail(f"{reason}, and AUTOTUNE_REQUIRE_WEBGPU asks for one")
        pytest.skip(reason)
    return named


@pytest.fixture(scope="session")
def cuda_target() -> Target:
    """The proven CUDA target of this interpreter."""
    from autotune.targets import LocalExecutor, survey  # noqa: PLC0415 - after the environment

    with LocalExecutor() as executor:
        (found,) = (one for one in survey(executor) if one.family.name == "cuda")
    if found.target is None:
        reason = f"there is no CUDA here: {found.reason}"
        if os.environ.get("AUTOTUNE_REQUIRE_CUDA") == "1":
            pytest.fail(f"{reason}; AUTOTUNE_REQUIRE_CUDA asks for it")
        pytest.skip(reason)
    return found.target


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hugging Face folder of the tiny model (seed 0); read only."""
    for module in ("torch", "transformers"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed (extra 'train')")
    return make_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session")
def tiny_built_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """onnxruntime-genai folder of the tiny model, fp32 for cpu; read only.

    Made by the builder's own command line, so that nothing of autotune can bend it.
    """
    if find_spec("onnxruntime_genai") is None:
        pytest.skip("onnxruntime_genai is not installed (extra 'cpu')")
    out, cache = tmp_path_factory.mktemp("tiny-built"), tmp_path_factory.mktemp("builder-cache")
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    command += ["-i", str(tiny_model_dir), "-o", str(out), "-p", "fp32", "-e", "cpu"]
    command += ["-c", str(cache), "--extra_options", "prune_lm_head=true"]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    return out
