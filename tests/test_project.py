"""The shape of the project itself: light imports, a whole wheel, sizes, reasons, promises.

A rule that no test asks for is forgotten within a week.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from autotune import errors
from autotune.targets import RUNTIME_FLAVOURS, families

ROOT = Path(__file__).parents[1]
FOLDERS = ("evaluators", "passes", "reports", "search", "targets")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE_DIRS: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]

# Libraries that take seconds to import, or that the core is installed without.
HEAVY = (
    *("torch", "transformers", "onnxruntime", "onnxruntime_genai", "peft", "bitsandbytes"),
    *("datasets", "pandas", "plotly", "safetensors", "gguf", "optuna", "sklearn"),
    "onnx_ir",
)
# Modules that only workers import; each is about tensors or graphs throughout.
WORKER_ONLY = {
    "autotune.passes.answer_loss": "a loss over torch tensors",
    "autotune.passes.attention": "attention that transformers models call",
    "autotune.passes.base_model": "torch modules with the weights of a checkpoint",
    "autotune.passes.compute": "times and names what torch computes in",
    "autotune.passes.cutting": "moves torch tensors between safetensors files",
    "autotune.passes.fit": "counts the torch tensors that a training keeps",
    "autotune.passes.graph": "reads graphs with onnx_ir",
    "autotune.passes.healing": "a training loop over torch tensors",
    "autotune.passes.layer_choice": "states and losses of a torch model",
    "autotune.passes.lora": "torch modules with peft's layers in them",
    "autotune.passes.merging": "torch modules, merged and compared",
    "autotune.passes.norms": "norms as torch functions",
    "autotune.passes.qat": "torch modules that round what they multiply",
    "autotune.passes.rounded": "puts a graph's weights into a torch model",
    "autotune.passes.proof": "compares a graph's logits with those of a torch model",
    "autotune.passes.replay": "records what a GPU does for torch",
    "autotune.passes.training": "the torch training loop",
    "autotune.passes.training_log": "losses that are read from the device in groups",
}

_IMPORT_ALL = """
import importlib, json, logging, os, pkgutil, sys, threading
packages, heavy, skipped = json.loads(sys.argv[1])
environment = dict(os.environ)
names, culprits, broken = set(packages), {}, {}
for package in packages:
    folders = importlib.import_module(package).__path__
    names |= {module.name for module in pkgutil.iter_modules(folders, package + ".")}
for name in sorted(names - set(skipped)):
    try:
        importlib.import_module(name)
    except Exception as error:
        broken[name] = repr(error)
    for library in heavy:
        if library in sys.modules:
            culprits.setdefault(library, name)
print(json.dumps({
    "names": sorted(names),
    "culprits": culprits,
    "broken": broken,
    "environment": dict(os.environ) == environment,
    "handlers": len(logging.root.handlers),
    "threads": threading.active_count(),
}))
"""


def _sources(*, with_tests: bool) -> list[Path]:
    tops = [*FOLDERS, "src", *(("tests", "bench", "examples") if with_tests else ())]
    found = [path for top in tops for path in sorted((ROOT / top).rglob("*.py"))]
    return [path for path in found if "__pycache__" not in path.parts]


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


# Imports


@pytest.fixture(scope="module")
def imported() -> dict[str, object]:
    packages = PROJECT["tool"]["setuptools"]["packages"]
    argument = json.dumps([packages, HEAVY, list(WORKER_ONLY)])
    command = [sys.executable, "-W", "error", "-c", _IMPORT_ALL, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    facts: dict[str, object] = json.loads(done.stdout)
    return facts


def test_every_module_can_be_imported(imported: dict[str, object]) -> None:
    assert imported["broken"] == {}


def test_importing_every_module_loads_no_heavy_library(imported: dict[str, object]) -> None:
    assert imported["culprits"] == {}


def test_importing_every_module_does_nothing_else(imported: dict[str, object]) -> None:
    assert (imported["environment"], imported["handlers"], imported["threads"]) == (True, 0, 1)


def test_exempted_modules_exist_and_need_their_exemption(imported: dict[str, object]) -> None:
    names = imported["names"]
    assert isinstance(names, list)
    assert set(WORKER_ONLY) <= set(names)
    for name in WORKER_ONLY:
        path = ROOT / f"{name.removeprefix('autotune.').replace('.', '/')}.py"
        assert re.search(
            r"^(import|from) (torch|onnx_ir|safetensors)\b", path.read_text("utf-8"), re.MULTILINE
        ), name


@pytest.mark.skipif(sys.platform == "win32", reason="the module resource is not on Windows")
def test_help_answers_within_its_share_of_cpu_time() -> None:
    import resource  # noqa: PLC0415 - not on Windows

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "autotune", "--help"]
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(3)) <= 0.4


# Packaging


def _expected_in_wheel() -> set[str]:
    """Return every file of the package folders under the name it has in a wheel."""
    found = set()
    for package, folder in PACKAGE_DIRS.items():
        for path in (ROOT / folder).rglob("*"):
            inner = path.relative_to(ROOT / folder).as_posix()
            # Caches of tools are no part of a package.
            if path.is_file() and not re.search(r"(^|/)(\.|__pycache__/)", inner):
                found.add(f"{package.replace('.', '/')}/{inner}")
    return found


def test_every_package_folder_is_listed_in_pyproject() -> None:
    # A forgotten one works in an editable install and is silently absent from the wheel.
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    on_disk = {
        str(Path(name).parent).replace("/", ".")
        for name in _expected_in_wheel()
        if name.endswith("/__init__.py")
    }
    assert listed == on_disk


def test_wheel_holds_every_file_of_the_tree(tmp_path: Path) -> None:
    try:
        setuptools = int(version("setuptools").partition(".")[0])
    except PackageNotFoundError:
        setuptools = 0
    if setuptools < 77:
        pytest.skip(f"building needs setuptools 77 or later in this environment, has {setuptools}")
    tree = tmp_path / "tree"
    for name in (*FOLDERS, "src", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        tree.mkdir(exist_ok=True)
        copy(source, tree / name)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == _expected_in_wheel()


def test_every_root_folder_has_its_line_for_the_type_checker() -> None:
    stubs = {path.stem: path.read_text("utf-8") for path in (ROOT / "typings").rglob("*.pyi")}
    assert stubs == {folder: f"from {folder} import *\n" for folder in FOLDERS}


def test_version_is_the_same_in_package_and_project() -> None:
    import autotune  # noqa: PLC0415 - the name is this test's subject

    assert autotune.__version__ == PROJECT["project"]["version"]


def _distribution(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _requirements(*extras: str) -> set[str]:
    listed = [*PROJECT["project"]["dependencies"]]
    for extra in extras:
        listed += PROJECT["project"]["optional-dependencies"][extra]
    return {_distribution(requirement) for requirement in listed} - {"autotune-slm"}


def test_every_dependency_of_an_ordinary_installation_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {_distribution(line): line for line in lines if line and not line.startswith("#")}
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in pins.values())
    wanted = _requirements("train", "cpu", "test", "dev", "dashboard", "serve") - {"pip"}
    assert sorted(wanted - set(pins)) == []


@pytest.mark.parametrize(
    ("extra", "family"),
    [("cpu", "cpu"), ("cuda", "cuda"), ("directml", "directml"), ("windowsml", "directml")],
)
def test_an_extra_brings_a_pair_of_runtimes_that_its_target_knows(extra: str, family: str) -> None:
    target = families()[family]
    runtimes = {one for one in _requirements(extra) if one in RUNTIME_FLAVOURS["onnxruntime"]}
    assert len(runtimes) == 1
    assert not target.runtimes or runtimes <= set(target.runtimes)
    genai = {one for one in _requirements(extra) if one in RUNTIME_FLAVOURS["onnxruntime_genai"]}
    assert len(genai) == 1
    assert genai <= set(target.genai)


def test_every_library_that_is_imported_is_a_declared_dependency() -> None:
    declared = _requirements(*PROJECT["project"]["optional-dependencies"])
    # Imported by another name than it is installed by.
    installed = {"yaml": "pyyaml", "azure": "azure-ai-ml"}
    aliases = {name for name, distribution in installed.items() if distribution in declared}
    known = {*declared, *aliases, *sys.stdlib_module_names, "autotune"}
    undeclared = {
        f"{_shown(path)} imports {name}"
        for path in _sources(with_tests=False)
        for node in ast.walk(_tree(path))
        for name in _imported_names(node)
        if name not in known and name.lower().replace("_", "-") not in known
    }
    assert undeclared == set()


def _imported_names(node: ast.AST) -> list[str]:
    """Return the top-level names of an absolute import; none of any other node."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module.partition(".")[0]]
    return []


# Sizes and words


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of the body, its docstring left out."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_files_stay_under_400_lines_and_functions_under_60() -> None:
    too_long = []
    for path in _sources(with_tests=True):
        lines = len(path.read_text("utf-8").splitlines())
        too_long += [f"{_shown(path)} has {lines} lines"] if lines > 400 else []
        too_long += [
            f"{_shown(path)}:{function.lineno} {function.name} has {_body_lines(function)} lines"
            for function in _functions(_tree(path))
            if _body_lines(function) > 60
        ]
    assert too_long == []


def _public_parts(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            for part in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
                    yield part


def test_public_modules_classes_and_functions_have_docstrings() -> None:
    bare = []
    for path in _sources(with_tests=False):
        tree = _tree(path)
        if ast.get_docstring(tree) is None:
            bare.append(_shown(path))
        if not path.stem.startswith("_"):
            public = _public_parts(tree)
            bare += [f"{_shown(path)}:{p.name}" for p in public if not ast.get_docstring(p)]
    assert bare == []


def test_every_exemption_from_a_check_has_its_reason() -> None:
    # "CODE - why"; one reason may serve the lines of the same code that follow it.
    unexplained = []
    for path in _sources(with_tests=True):
        explained: set[str] = set()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            match = re.search(r"#\s*(noqa|type: ignore)(?:: ?|\[)?([A-Z0-9a-z, -]*)\]?(.*)", line)
            if match is None or path == Path(__file__):
                continue
            codes, _, reason = match[2].partition(" - ")
            key = f"{match[1]} {codes.strip()}"
            if reason.strip() or re.match(r"\s*(- |# )\S", match[3]):
                explained.add(key)
            elif not codes.strip() or key not in explained:
                unexplained.append(f"{_shown(path)}:{number}")
    assert unexplained == []


def test_tracked_files_name_no_place_of_one_machine() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the list of tracked files needs git and a checkout")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # An absolute path below a home or scratch folder; /tmp/evil... is a hostile archive's.
    place = re.compile(r"(?<![\w.)}>])/(?:work|root|home|tmp(?!/evil))/\w")
    found = []
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix not in (".jsonl", ".png", ".gguf"):
            lines = path.read_text("utf-8", errors="replace").splitlines()
            found += [f"{name}:{n}: {x}" for n, x in enumerate(lines, start=1) if place.search(x)]
    assert found == []


def test_drawn_tree_of_errors_is_the_tree_of_classes() -> None:
    drawn = re.findall(r"^[ │├└─]*(\w+Error)\b", str(errors.__doc__), re.MULTILINE)
    classes = {name: getattr(errors, name) for name in errors.__all__}
    assert sorted(drawn) == sorted(classes)
    assert {name: kind.exit_code for name, kind in classes.items()} == {
        name: 2 if issubclass(kind, errors.UsageError) else 3 if name == "HardwareError" else 4
        for name, kind in classes.items()
    }


# Commands that the README promises

INSTALL = 'pip install -c constraints.txt -e ".[cpu]" && autotune --target cpu --max-latency 100ms'
CHECK = 'pip install -c constraints.txt -e ".[cpu,test]" && pytest'


def test_readme_and_continuous_integration_say_the_same_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert INSTALL in readme
    assert CHECK in readme
    runner = (ROOT / ".ci" / "run").read_text("utf-8").replace("install -q ", "install ")
    assert CHECK in runner
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert os.access(ROOT / "scripts" / "check", os.X_OK)
