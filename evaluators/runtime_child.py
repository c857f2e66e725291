"""Time and score one built model in a process that loads nothing but onnxruntime-genai.

A script, never imported by autotune: run by its path, possibly by the Python of another
environment, with one JSON request on stdin. The answer is the last line of stdout, one
JSON object; a refusal that a caller can act on is ``{"error": {"kind", "message"}}``
with exit code 0, anything else is a traceback and exit code 1. ``runtime.py`` is the
other side of this protocol.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import re
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any


def _loaded(file: Path) -> ModuleType:
    """Return the module in ``file``, whose folder is not on the path."""
    spec = importlib.util.spec_from_file_location(f"autotune_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(file.stem)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_METERS, _SCORING, _USAGE, _WARM_UP = (
    _loaded(Path(__file__).with_name(f"{name}.py"))
    for name in ("meters", "scoring", "usage", "warm_up")
)
# Model.device_type where it is not the provider's own name (onnxruntime-genai 0.18).
_DEVICE_TYPES = {"dml": "DirectML"}
# Sampling defaults travel with a model (generation_config.json); they must not decide here. A
# seed, since a generator without one asks the processor for 624 random numbers
# (std::random_device), also where nothing is sampled: 14 ms where a hypervisor slows RDSEED.
_GREEDY = {
    "random_seed": 0,
    "do_sample": False,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}
_LOOK = 3  # timed in any case; the fastest request decides, for early ones may compile
# Words of the runtime's messages, in lower case.
_OUT_OF_MEMORY = r"bad_alloc|bad allocation|out of memory|failed to allocate memory"
_NO_PROVIDER = (
    r"not supported in this build|not been built|interface not available"
    r"|unknown provider name|execution provider library"
)


class RefusedError(Exception):
    """A failure with a name, reported to the parent instead of a traceback."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _named(error: Exception, kind: str) -> RefusedError:
    """Return ``error`` of the runtime as a refusal; a lack of memory has its own kind."""
    text = str(error)
    starved = isinstance(error, MemoryError) or re.search(_OUT_OF_MEMORY, text.lower())
    return RefusedError("out_of_memory" if starved else kind, text)


def refuse_native_code(folder: Path) -> None:
    """Refuse a model whose configuration makes the runtime load a foreign library."""
    path = folder / "genai_config.json"
    if not path.is_file():
        raise RefusedError("load_failed", f"{folder} has no genai_config.json")

    keys: list[str] = []
    try:
        json.loads(
            path.read_text(encoding="utf-8"),
            object_pairs_hook=lambda pairs: keys.extend(key for key, _ in pairs),
        )
    except ValueError as error:
        raise RefusedError("load_failed", f"genai_config.json is not JSON: {error}") from error
    if "custom_ops_library" in keys:
        raise RefusedError("custom_ops", "genai_config.json names a custom_ops_library")


class Runtime:
    """A loaded model with its tokenizer, on the provider that was asked for."""

    def __init__(self, *, folder: Path, provider: str, threads: int) -> None:
        import onnxruntime_genai as og  # noqa: PLC0415 - telemetry is switched off in main first

        refuse_native_code(folder)
        self._og = og
        session = {"intra_op_num_threads": threads}
        start = time.perf_counter()
        try:
            config = og.Config(str(folder))
            config.clear_providers()
            if provider != "cpu":
                config.append_provider(provider)
            # The overlay accepts unknown keys without a word: these are checked by a test.
            config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
            self._model = og.Model(config)
            self.tokenizer = og.Tokenizer(self._model)
        except (RuntimeError, MemoryError) as error:
            is_absent = re.search(_NO_PROVIDER, str(error).lower())
            raise _named(error, "no_provider" if is_absent else "load_failed") from error
        self.load_s = time.perf_counter() - start
        self.device_type = str(self._model.device_type)
        wanted = _DEVICE_TYPES.get(provider, provider)
        if self.device_type.lower() != wanted.lower():
            raise RefusedError(
                "fell_back", f"asked for {provider!r}, the model runs on {self.device_type!r}"
            )

    def generator(self, *, length: int, shortest: int = 0, **sampling: Any) -> Any:
        """Return a generator for ``length`` tokens, prompt included; greedy by default.

        ``shortest`` masks end-of-sequence until that many tokens stand. The key-value
        cache is allocated for ``length``, so a longer one than needed costs time.
        """
        parameters = self._og.GeneratorParams(self._model)
        options = {"max_length": length, "min_length": shortest, **_GREEDY, **sampling}
        parameters.set_search_options(**options)
        return self._og.Generator(self._model, parameters)


def _check_tokens(runtime: Runtime, rows: list[dict[str, Any]]) -> None:
    """Refuse a tokenizer that reads a prompt differently from the one that trained."""
    for row in rows:
        ids = runtime.tokenizer.encode(row["prompt"]).tolist()
        if ids != row["prompt_ids"]:
            raise RefusedError(
                "tokenizer_mismatch",
                f"prompt {row['prompt'][:60]!r} is {ids[:12]} to the built model's tokenizer"
                f" and {row['prompt_ids'][:12]} to the one that trained",
            )


def score(runtime: Runtime, request: dict[str, Any], labels: Any) -> dict[str, Any]:
    """Score every row of ``request["score"]``, in order, as the kind of the task asks."""
    work, rows = request["score"], request["score"]["rows"]
    _check_tokens(runtime, rows)
    rules = {"eos_ids": request["eos_ids"], "max_new": work["max_new_tokens"]}
    start = time.perf_counter()
    if work["kind"] in ("classification", "choice"):
        results = _SCORING.score_decisions(runtime, rows, labels)
    elif work["kind"] == "perplexity":
        results = [_SCORING.score_window(runtime, row) for row in rows]
    else:
        results = [
            _SCORING.score_answer(runtime, row, with_nll=work["nll"], **rules) for row in rows
        ]
    return {"rows": results, "seconds": time.perf_counter() - start}


def request_decision(runtime: Runtime, row: dict[str, Any], decision: Any) -> tuple[float, ...]:
    """Decide one request; return (seconds to the answer,) twice: it is one token."""
    start = time.perf_counter()
    ids = runtime.tokenizer.encode(row["prompt"])
    generator = runtime.generator(length=len(ids) + max(1, decision.longest))
    generator.append_tokens(ids)
    scores = decision.scores(generator, len(ids))
    max(range(len(scores)), key=scores.__getitem__)
    total = time.perf_counter() - start
    return total, total


def request_answer(runtime: Runtime, row: dict[str, Any]) -> tuple[float, ...]:
    """Make one generation request of exactly ``new_tokens``; return (total, first) seconds."""
    start = time.perf_counter()
    ids = runtime.tokenizer.encode(row["prompt"])
    length = len(ids) + row["new_tokens"]
    generator = runtime.generator(length=length, shortest=length)
    generator.append_tokens(ids)
    generator.generate_next_token()
    generator.get_next_tokens()  # as a streaming client does; waits for the device
    first = time.perf_counter()
    for _ in range(row["new_tokens"] - 1):
        generator.generate_next_token()
        generator.get_next_tokens()
    total = time.perf_counter() - start
    made = generator.token_count() - len(ids)
    if made != row["new_tokens"]:
        raise RefusedError("run_failed", f"made {made} of {row['new_tokens']} tokens")
    return total, first - start


def latency(runtime: Runtime, request: dict[str, Any], labels: Any, meters: Any) -> dict[str, Any]:
    """Time one block between the meters: a cold request, the warm-up, then every row once.

    A device also meets every prompt length before it is timed.

    Where the first few show the model hopelessly slow, no more than those.
    """
    work, rows = request["latency"], request["latency"]["rows"]
    hopeless_s = work["hopeless_s"] or float("inf")
    _check_tokens(runtime, rows)

    decisions = [_SCORING.decision_of(row, labels) for row in rows]
    for row, decision in zip(rows, decisions, strict=True):
        row["decision"] = decision  # made before the clock runs, as a server does

    def one(row: dict[str, Any]) -> tuple[float, ...]:
        decision = row["decision"]
        if decision is None:
            return request_answer(runtime, row)
        return request_decision(runtime, row, decision)

    # The longest row makes the buffers as large as any request of the block needs them.
    longest = max(rows, key=lambda row: len(row["prompt_ids"]) + row["new_tokens"])
    gc.collect()
    gc.disable()
    try:
        cold_s = one(longest)[0]
        warm_up = _WARM_UP.settle(one, longest, work["warm_up"], hopeless_s)
        lengths = []
        if request["provider"] != "cpu" and min(warm_up) <= hopeless_s:
            seen = len(longest["prompt_ids"])
            lengths = _WARM_UP.first_of_each_length(one, rows, seen=seen, settled_s=warm_up[-1])
        before = _USAGE.read_usage()
        meters.start()
        began = time.perf_counter()
        timed = [one(row) for row in rows[:_LOOK]]
        if min([*warm_up, *(total for total, _ in timed)]) <= hopeless_s:
            timed += [one(row) for row in rows[_LOOK:]]
        used = _USAGE.used_since(before)
        # The same requests again, untimed, until the counters can tell.
        rounds = 1
        while len(timed) == len(rows) and time.perf_counter() - began < meters.window_s:
            for row in rows:
                one(row)
            rounds += 1
        metered = meters.stop(time.perf_counter() - began)
    finally:
        gc.enable()
    rows = rows[: len(timed)]
    further = [max(1, row["new_tokens"]) - 1 for row in rows]
    return {
        "cold_s": cold_s,
        "warm_up_s": warm_up,
        "new_length_s": lengths,
        "total_s": [total for total, _ in timed],
        "ttft_s": [first for _, first in timed],
        "tpot_s": [(t - f) / n for (t, f), n in zip(timed, further, strict=True) if n],
        "new_tokens": [row["new_tokens"] for row in rows],
        "prompt_tokens": [len(row["prompt_ids"]) for row in rows],
        "peak_bytes": _USAGE.peak_bytes(),
        "pss_bytes": _USAGE.pss_bytes(),
        "metered_rounds": rounds,
        **used,
        **metered,
    }


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Load the model, do what ``request`` asks (latency before score) and return the result."""
    threads = request["threads"] or _USAGE.usable_cores()
    if request["libraries"]:
        _loaded(Path(request["libraries"])).load_nvidia_libraries()
    work = request.get("latency")
    meters = work and _METERS.Meters(
        provider=request["provider"],
        root=Path(work["meters"]["root"]),
        nvml=work["meters"]["nvml"],
    )
    runtime = Runtime(
        folder=Path(request["model_dir"]), provider=request["provider"], threads=threads
    )
    tasks = Path("/proc/self/task")
    labels = None
    if request["plan"]:
        labels = _SCORING.Decision(request["plan"], request["label_ids"])
    result: dict[str, Any] = {
        "load_s": runtime.load_s,
        "device_type": runtime.device_type,
        "threads": threads,
        "os_threads": len(list(tasks.iterdir())) if tasks.is_dir() else None,
    }
    try:
        if work:
            result["latency"] = latency(runtime, request, labels, meters)
        if request.get("score"):
            result["score"] = score(runtime, request, labels)
    except FloatingPointError as error:
        raise RefusedError("not_finite", str(error)) from error
    except (RuntimeError, MemoryError) as error:
        raise _named(error, "run_failed") from error
    return result


def main() -> None:
    """Answer the request on stdin with one line on the stdout this process was given."""
    # Libraries print to file descriptor 1 from C++; the answer must stay the last line there.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        request = json.loads(sys.stdin.buffer.read())
        try:
            result = answer(request)
        except RefusedError as error:
            result = {"error": {"kind": error.kind, "message": str(error)}}
        out.write(json.dumps(result, allow_nan=False) + "\n")


if __name__ == "__main__":
    # A script's own folder is first on the path; here it would hide the statistics
    # module of the standard library from every library that is imported later.
    with contextlib.suppress(ValueError):
        sys.path.remove(str(Path(__file__).resolve().parent))
    main()
