"""How much of the machine the measuring parent takes beside the process that it measures.

    python -m bench.measuring_overhead MODEL_DIR [--rounds 4] [--words 24] [--tokens 2] [--json OUT]

The parent's processor seconds, threads included, during one session of timed blocks, as a
share of its wall time and of the children's processor seconds. Between blocks the parent
also computes the intervals; ``while_timed`` leaves that out, as no request is timed then.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.evaluators import BlockSettings, BuiltModel, make_workload, measure_latency
from autotune.targets import Executor, Job, JobResult, LocalExecutor

from .same_or_not import random_prompts

_PER_BLOCK = 16


@dataclass
class _Watched:
    """An executor that notes what this process used between handing in a job and its end."""

    inner: Executor
    wall_s: float = 0.0
    parent_s: float = 0.0
    _began: tuple[float, float] = field(default=(0.0, 0.0))

    def submit(self, job: Job) -> str:
        """Start the job, and the clocks."""
        self._began = (time.perf_counter(), _own_s())
        return self.inner.submit(job)

    def poll(self, timeout_s: float | None = None) -> JobResult | None:
        """Wait for the job, and add up what the waiting took."""
        result = self.inner.poll(timeout_s)
        self.wall_s += time.perf_counter() - self._began[0]
        self.parent_s += _own_s() - self._began[1]
        return result

    def cancel(self, handle: str) -> None:
        """Pass it on."""
        self.inner.cancel(handle)

    def capabilities(self, interpreter: str = "") -> dict[str, Any]:
        """Pass it on."""
        return self.inner.capabilities(interpreter)

    def close(self) -> None:
        """Pass it on."""
        self.inner.close()


def _used_s(whose: int) -> float:
    """Return processor seconds, all threads together, of this process or of its ended children."""
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


def _own_s() -> float:
    return _used_s(resource.RUSAGE_SELF)


def _children_s() -> float:
    return _used_s(resource.RUSAGE_CHILDREN)


def main() -> None:
    """Measure a session and print the shares."""
    arguments = _arguments()
    rows = random_prompts(arguments.model, words=arguments.words, new_tokens=arguments.tokens)
    workload = make_workload(rows, n=64, seed=0)
    model = BuiltModel(name="model", path=arguments.model, provider="cpu")
    with LocalExecutor() as local:
        watched = _Watched(local)
        began, own_s, children_s = time.perf_counter(), _own_s(), _children_s()
        found = measure_latency(
            [model],
            workload,
            rounds=arguments.rounds,
            requests_per_block=_PER_BLOCK,
            seed=0,
            executor=watched,
            settings=BlockSettings(warm_up_most=6),
        )
        wall_s = time.perf_counter() - began
        own_s, children_s = _own_s() - own_s, _children_s() - children_s
    result = {
        "wall_s": wall_s,
        "parent_cpu_s": own_s,
        "children_cpu_s": children_s,
        "parent_of_wall": own_s / wall_s,
        "parent_of_children": own_s / children_s,
        "while_timed": {
            "wall_s": watched.wall_s,
            "parent_cpu_s": watched.parent_s,
            "parent_of_wall": watched.parent_s / watched.wall_s,
            "parent_of_children": watched.parent_s / children_s,
        },
        "latency_p50_s": found["model"]["latency.p50"].value,
        "rounds": arguments.rounds,
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--words", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
