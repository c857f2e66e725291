"""Real deploy folders of the tiny model, and a real server process."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from autotune.kinds import Kind
from autotune.reports import DecisionRule, build_report, write_model_folder
from autotune.task import Encoder, Template, decision_plan

from ..reports.record import context, events  # noqa: TID252 - tests are no installed package

# Three tokens decide between them, so that none wins by being short.
LABEL_IDS = tuple((*ids, 0) for ids in itertools.product((40, 90), (50, 60), (70, 80, 85)))
LABELS = tuple(f"label {number}" for number in range(len(LABEL_IDS)))
TEMPLATE = "### Text: {phrase}\n### Tone: {tone}"
Deploy = Callable[..., Path]


@pytest.fixture(scope="session")
def deploy(
    tiny_model_dir: Path, tiny_built_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Deploy:
    """Write a deploy folder for a kind of task and a template, and return it."""
    encoder = Encoder.load(tiny_model_dir)

    def write(kind: Kind, text: str = TEMPLATE, *, around: tuple[str, str] = ("", "")) -> Path:
        template = Template.parse(text)
        has_labels = kind == "classification"
        rule = DecisionRule(
            kind=kind,
            template=template.text,
            literals=template.literals,
            fields=template.fields,
            labels=LABELS if has_labels else (),
            label_ids=LABEL_IDS if has_labels else (),
            nodes=decision_plan(LABEL_IDS).nodes if has_labels else (),
            eos_ids=encoder.eos_ids,
            max_new_tokens=12 if kind == "generation" else 0,
            around=around,
            metric="per-token" if kind == "choice" else "",
            options=("o",) if kind == "choice" else (),
        )
        folder = tmp_path_factory.mktemp(kind) / "model"
        report = build_report(context(kind=kind), events())
        write_model_folder(
            folder, built_dir=tiny_built_dir, adapter_dir=None, rule=rule, report=report
        )
        return folder

    return write


@pytest.fixture(scope="session")
def classifier(deploy: Deploy) -> Path:
    """A deploy folder that decides between ``LABELS``; read only."""
    return deploy("classification")


class Server:
    """``autotune serve`` as a user starts it.

    Attributes:
        url: of the interface, ``http://127.0.0.1:PORT/v1``.
        opening: lines up to the one that says how it ends.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self._lines = process.stderr
        self.opening: list[str] = []
        while not self.opening or "Ctrl-C ends" not in self.opening[-1]:
            line = self._lines.readline()
            assert line, self.opening
            self.opening.append(line.rstrip())
        found = re.search(r"http://\S+/v1", self.opening[0])
        assert found is not None, self.opening
        self.url = found[0]

    def line(self) -> str:
        """Wait for the next line that the server prints and return it."""
        return self._lines.readline().rstrip()


@contextmanager
def running(folder: Path, *words: str) -> Iterator[Server]:
    """Serve ``folder`` on a free port meanwhile."""
    for library in ("starlette", "uvicorn", "openai"):
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed (extra 'test')")
    process = subprocess.Popen(
        [sys.executable, "-m", "autotune", "serve", str(folder), "--port", "0", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield Server(process)
    finally:
        process.terminate()
        process.wait(timeout=20)
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture(scope="session")
def run_py() -> Callable[[Path, list[list[list[str]]]], list[str]]:
    """Answers of a folder's own ``run.py``, all in one process of its own."""
    program = "import json, sys, run;"
    program += " print(json.dumps([run.answer(*a) for a in json.load(sys.stdin)]))"

    def answers(folder: Path, arguments: list[list[list[str]]]) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            check=True,
        )
        found: list[str] = json.loads(done.stdout.splitlines()[-1])
        return found

    return answers
