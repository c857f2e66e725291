"""Script: time memory reads and matrix products in a process that does nothing else.

Needs numpy and onnxruntime. The request comes as JSON on standard input, the answer
is the last line of standard output: seconds of every sample, nothing summarised.
Whatever a provider has no kernel for is answered with the runtime's own words.
"""

from __future__ import annotations

import base64
import importlib
import json
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

_WARM_UPS = 3
_FEWEST, _MOST = 5, 60
_READ_SHARE = 0.15
_ENTRY_S = 0.5  # enough for a median within a per cent on a quiet core
_MESSAGE_CHARS = 200
_PERIOD = 1_000_003  # a prime
# Storage type of a label; numpy knows no bfloat16, its bits travel as uint16.
_NUMPY = {
    "fp32": np.float32,
    "fp16": np.float16,
    "bf16": np.uint16,
    "u8": np.uint8,
    "s8": np.int8,
}


class Clock:
    """What is left of the time limit."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.perf_counter() + limit_s

    def left_s(self) -> float:
        """Return seconds to the limit, negative beyond it."""
        return self._end - time.perf_counter()


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def samples(work: Callable[[], Any], *, seconds: float) -> list[float]:
    """Return every sample of ``work`` for about ``seconds``: at least 5, at most 60."""
    found: list[float] = []
    while len(found) < _FEWEST or (len(found) < _MOST and sum(found) < seconds):
        found.append(timed(work))
    return found


def read_memory(n_bytes: int, *, threads: int, seconds: float) -> dict[str, Any]:
    """Time passes over an array: each thread takes the maximum of its own slice.

    A maximum of float32 does least beside reading; numpy lets go of the interpreter's
    lock meanwhile.
    """
    array = np.empty(n_bytes // 4, dtype=np.float32)
    slices = np.array_split(array, threads)
    with ThreadPoolExecutor(threads) as pool:

        def fill(part: Any) -> None:
            part.fill(1.0)  # gives every page a place of its own

        def run(step: Callable[[Any], Any]) -> None:
            for future in [pool.submit(step, part) for part in slices]:
                future.result()

        run(fill)
        run(np.maximum.reduce)
        return {
            "bytes": array.nbytes,
            "samples_s": samples(lambda: run(np.maximum.reduce), seconds=seconds),
        }


def _filled(element: str, shape: list[int], scale: float, rng: Any) -> Any:
    """Return random content that neither overflows in a chain nor is denormal.

    It repeats after ``_PERIOD`` values, no multiple of a row: a gigabyte of random numbers
    takes longer than all that is timed with it.
    """
    array = np.empty(shape, dtype=_NUMPY[element])
    flat = array.reshape(-1)
    block = _random(element, min(flat.size, _PERIOD), scale, rng)
    for start in range(0, flat.size, block.size):
        part = flat[start : start + block.size]
        part[:] = block[: part.size]
    return array


def _random(element: str, n: int, scale: float, rng: Any) -> Any:
    if element in ("u8", "s8"):
        return rng.integers(0, 100, size=n, dtype=_NUMPY[element])
    values = (rng.random(n, dtype=np.float32) - np.float32(0.5)) * np.float32(scale)
    if element == "bf16":  # the upper half of a float32
        return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return values.astype(_NUMPY[element])


class Session:
    """One operator on one provider, its arrays in place."""

    def __init__(self, ort: Any, entry: dict[str, Any], request: dict[str, Any]) -> None:
        # Attributes are freed in the order of their first assignment. The binding's output is
        # in memory of the session's device: freed after the last session, WebGPU crashes.
        self._binding: Any = None
        self._x: Any = None
        self._session: Any = None
        self._device = request["device"] or "cpu"
        rng = np.random.default_rng(request["seed"])
        kinds = request["element_types"]
        # Uniform weights of variance 1 / k keep the size of x through a chain.
        scale = (12.0 / entry["x"][1][-1]) ** 0.5

        def value(element: str, shape: list[int], size: float) -> Any:
            content = _filled(element, shape, size, rng)
            return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(content, kinds[element])

        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        settings.intra_op_num_threads = request["threads"]
        if request["provider"] != "CPUExecutionProvider":
            settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        # The session does not own the arrays it is given.
        self._weights = {
            name: value(element, shape, scale / spread)
            for name, (element, shape, spread) in entry["weights"].items()
        }
        settings.add_external_initializers([*self._weights], [*self._weights.values()])
        self._session = ort.InferenceSession(
            base64.b64decode(entry["model"]),
            settings,
            providers=[(request["provider"], {})],
            enable_fallback=0,
        )
        self._bind(value(entry["x"][0], entry["x"][1], 2.0))
        if self._device != "cpu":
            self._move_input()

    def _move_input(self) -> None:
        """Take the output of a run as the input: it lies on the device already.

        Of a square product it has the same form, and any type; numpy knows no bfloat16.
        """
        self.run()
        self._bind(self._binding.get_outputs()[0])

    def _bind(self, x: Any) -> None:
        """Take ``x`` as the input from now on, and leave the output on the session's device."""
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("x", x)
        binding.bind_output("y", self._device)
        self._x, self._binding = x, binding

    def run(self) -> None:
        """Run the operator once and wait for the device."""
        self._session.run_with_iobinding(self._binding)
        if self._device != "cpu":
            # The end of a run waits for its stream by default; this waits whatever the default is.
            self._binding.synchronize_outputs()

    def warm_up(self) -> float:
        """Run it a few times and return the shortest time, seconds."""
        return min(timed(self.run) for _ in range(_WARM_UPS))


class Control:
    """The A/A test: one operator under two names, in blocks of random order."""

    def __init__(
        self, session: Session, request: dict[str, Any], *, product: int, once_s: float
    ) -> None:
        self.product = product
        self._session = session
        self._per_block = int(request["per_block"])
        self._rng = random.Random(request["seed"])  # noqa: S311 - an order, no secret
        self.round_s = 2 * (self._per_block + 1) * once_s
        self.blocks: dict[str, list[list[float]]] = {"first": [], "second": []}

    @property
    def rounds(self) -> int:
        """Rounds done so far."""
        return len(self.blocks["first"])

    def add_round(self) -> None:
        """Time one block under each name, after one untimed run each."""
        for name in self._rng.sample([*self.blocks], k=2):
            self._session.run()
            self.blocks[name].append([timed(self._session.run) for _ in range(self._per_block)])


def _errors() -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises; its own classes share no base but Exception."""
    native = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = (kind for kind in vars(native).values() if isinstance(kind, type))
    return (RuntimeError, ValueError, *(kind for kind in own if issubclass(kind, Exception)))


class Products:
    """Times the entries of a request one after another, within its time."""

    def __init__(self, ort: Any, request: dict[str, Any], clock: Clock) -> None:
        self._ort, self._request, self._clock = ort, request, clock
        self._errors = _errors()
        self._best: dict[str, float] = {}
        self.control: Control | None = None

    def answer(self, entry: dict[str, Any], *, left: int) -> dict[str, Any]:
        """Return ``samples_s`` of an entry, or why there are none; ``left`` entries remain."""
        if self._clock.left_s() <= 0:
            return {"refused": "no time left"}
        # Of a type that has not run yet, the slowest that has run says the most.
        slowest = min(self._best.values(), default=float("inf"))
        expected_s = entry["work"] / self._best.get(entry["label"], slowest)
        if expected_s * (_WARM_UPS + _FEWEST) > self._clock.left_s():
            return {"refused": f"too little time left: one run takes about {expected_s:.2g} s"}
        try:
            session = Session(self._ort, entry, self._request)
            once_s = session.warm_up()
        except self._errors as error:
            text = " ".join(str(error).split())[:_MESSAGE_CHARS]
            return {"refused": f"{type(error).__name__}: {text}"}
        if not entry["is_read"]:  # which says nothing of what a product takes
            self._best[entry["label"]] = entry["work"] / once_s
        number = self._request["products"].index(entry)
        if self.control is None or self.control.product < self._request["n_looks"] <= number:
            self.control = Control(session, self._request, product=number, once_s=once_s)
        share_s = min(_ENTRY_S, max(0.0, 0.8 * self._clock.left_s()) / max(1, left))
        return {"samples_s": samples(session.run, seconds=share_s)}

    def run(self) -> list[dict[str, Any]]:
        """Return an answer per entry, with a round of the A/A test after each."""
        entries = self._request["products"]
        answers = []
        for number, entry in enumerate(entries):
            answers.append(self.answer(entry, left=len(entries) - number))
            if number >= self._request["n_looks"]:
                self._add_rounds(most=1)
        self._add_rounds(most=self._request["rounds"])
        return answers

    def _add_rounds(self, *, most: int) -> None:
        if self.control is None:
            return
        for _ in range(most):
            is_short = self.control.rounds < self._request["rounds"]
            if is_short and self._clock.left_s() > self.control.round_s:
                self.control.add_round()


def calibrate(request: dict[str, Any]) -> dict[str, Any]:
    """Return the samples that ``request`` asks for (see ``calibrate.py``)."""
    ort = importlib.import_module("onnxruntime")
    if request["provider"].startswith(("CUDA", "NvTensor")) and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds the CUDA libraries that pip installed
    # Loading a gigabyte of libraries takes seconds, which are not the device's.
    clock = Clock(request["limit_s"])
    started = time.perf_counter()
    sizes, threads = request["read_bytes"], request["read_threads"]
    share_s = _READ_SHARE * request["limit_s"] / max(1, len(sizes))
    reads = [read_memory(size, threads=threads, seconds=share_s) for size in sizes]
    products = Products(ort, request, clock)
    answers = products.run()
    return {
        "onnxruntime": ort.__version__,
        "numpy": np.__version__,
        "reads": reads,
        "products": answers,
        "control": products.control
        and {
            "product": products.control.product,
            **products.control.blocks,
        },
        "seconds": time.perf_counter() - started,
    }


if __name__ == "__main__":
    print(json.dumps(calibrate(json.load(sys.stdin))))
