"""Whether a session beside other work is graded noisy, and a quiet one is not.

    python -m bench.hog MODEL_DIR [--hogs 1] [--rounds 3] [--json OUT]

Times the model alone, then beside processes that keep a core busy, and prints both
grades with the shares that they rest on. The hogs live as long as the session.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autotune.evaluators import (
    BlockSettings,
    BuiltModel,
    Surroundings,
    Workload,
    make_workload,
    measure_latency,
)
from autotune.targets import Executor, LocalExecutor

from .same_or_not import random_prompts

_PER_BLOCK = 16
# A hog that is forgotten ends by itself.
_LOOP = "import time\nend = time.monotonic() + {:f}\nwhile time.monotonic() < end: pass"
_LONGEST_S = 120.0


@contextmanager
def hogs(n: int, *, longest_s: float = _LONGEST_S) -> Iterator[None]:
    """Keep ``n`` cores busy inside the block, at most ``longest_s`` seconds."""
    command = [sys.executable, "-c", _LOOP.format(longest_s)]
    running = [subprocess.Popen(command) for _ in range(n)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def session(
    model: BuiltModel, workload: Workload, *, rounds: int, executor: Executor
) -> dict[str, Any]:
    """Return median and noise of a session."""
    around: list[Surroundings] = []
    found = measure_latency(
        [model],
        workload,
        rounds=rounds,
        requests_per_block=_PER_BLOCK,
        seed=0,
        executor=executor,
        settings=BlockSettings(warm_up_most=6),
        on_surroundings=around.append,
    )
    noise = around[0].noise(follows_own_work=True)
    return {"latency_p50_s": found[model.name]["latency.p50"].value, "noise": asdict(noise)}


def main() -> None:
    """Time twice and print."""
    arguments = _arguments()
    workload = make_workload(random_prompts(arguments.model, words=24, new_tokens=2), n=64, seed=0)
    model = BuiltModel(name="model", path=arguments.model, provider="cpu")
    with LocalExecutor() as executor:
        result = {"alone": session(model, workload, rounds=arguments.rounds, executor=executor)}
        with hogs(arguments.hogs):
            result["beside"] = session(model, workload, rounds=arguments.rounds, executor=executor)
    result["beside"]["hogs"] = arguments.hogs
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--hogs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
