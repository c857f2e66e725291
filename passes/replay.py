"""A GPU's work of a step, recorded once per shape and then replayed as one piece.

For worker processes: importing this module imports torch. A small model's step is some
thousand kernels of a few microseconds each, and asking for them one by one takes longer
than they do. Batches are padded to a few shapes, so that a recording serves many steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .answer_loss import losses_at, on_device
from .examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PaddedBatch", "Recordings", "distance", "own_stream", "rounded_up"]

# Coarse, since a GPU that waits for its kernels does not mind larger ones.
_SMALLEST_STEP = 16
# Recording costs about three steps.
_SEEN_BEFORE = 2
# Share of the gradients' norm by which a replay may differ from single kernels: libraries may
# choose other kernels inside a recording, and bfloat16 rounds to 0.4 %.
_SAME = 0.05


def rounded_up(n: int) -> int:
    """Return the next of four sizes per doubling, a multiple of 16.

    >>> [rounded_up(n) for n in (1, 16, 25, 65, 500)]
    [16, 16, 32, 80, 512]
    """
    step = max(_SMALLEST_STEP, 1 << max(0, n.bit_length() - 3))
    return -(-n // step) * step


def _next_power(n: int) -> int:
    return max(_SMALLEST_STEP, 1 << (n - 1).bit_length())


@dataclass(frozen=True, kw_only=True)
class PaddedBatch:
    """A batch in tensors whose shapes are few; places that were added weigh nothing.

    Attributes:
        ids: tokens, (rows, width).
        places: row and position of every answer token, (2, answers).
        weights: share of every answer token in the mean, (answers,), float32.
    """

    ids: torch.Tensor
    places: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def of(cls, batch: Sequence[Example], *, rows: int, device: torch.device) -> PaddedBatch:
        """Return ``batch`` as ``rows`` rows."""
        width = rounded_up(max(len(example.ids) for example in batch))
        padded = [[*example.ids, *[0] * (width - len(example.ids))] for example in batch]
        padded += [[0] * width] * (rows - len(batch))
        places = [
            (row, position)
            for row, example in enumerate(batch)
            for position in range(example.answer_start, len(example.ids))
        ]
        added = _next_power(len(places)) - len(places)
        weights = [1 / len(places)] * len(places) + [0.0] * added
        places += [(0, 1)] * added
        return cls(
            ids=on_device(device, torch.tensor(padded)),
            places=on_device(device, torch.tensor(places).T.contiguous()),
            weights=on_device(device, torch.tensor(weights)),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Width and answers."""
        return self.ids.shape[1], self.weights.shape[0]

    def loss(self, model: PreTrainedModel) -> torch.Tensor:
        """Return the mean loss per answer token, nats."""
        rows, positions = self.places
        return (losses_at(model, self.ids, rows, positions) * self.weights).sum()

    def take(self, other: PaddedBatch) -> None:
        """Copy the contents of ``other``, of the same shape."""
        for mine, theirs in (
            (self.ids, other.ids),
            (self.places, other.places),
            (self.weights, other.weights),
        ):
            mine.copy_(theirs, non_blocking=True)


@dataclass(frozen=True, kw_only=True)
class _Recording:
    """What the GPU does for a batch, and where it finds and leaves its numbers."""

    graph: torch.cuda.CUDAGraph
    batch: PaddedBatch
    loss: torch.Tensor
    gradients: tuple[torch.Tensor | None, ...]


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Queue a GPU's work on a stream of its own inside the block, as recording needs.

    Gradients of a weight are added up on the stream that saw the weight first, for as long
    as anything holds on to that, and the default stream cannot be part of a recording
    (``cudaErrorStreamCaptureImplicit``). What fills the default stream regardless must stay
    outside of the block, such as the rounding of bitsandbytes 0.50.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.current_stream(device)
    own = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    own.wait_stream(before)
    try:
        with torch.cuda.stream(own):
            yield
    finally:
        before.wait_stream(own)


def _clean_up(stream: torch.cuda.Stream) -> None:
    """Undo what torch leaves behind when recording fails: its stream, and random numbers that
    are drawn in recordings only.
    """
    torch.cuda.set_stream(stream)
    generator = torch.cuda.default_generators[stream.device.index]
    fresh = torch.Generator(device=stream.device)
    generator.graphsafe_set_state(fresh.graphsafe_get_state())


class Recordings:
    """Gradients of batches on a GPU: the first two of a shape as ever, then from a recording.

    Args:
        model: with its adapter; nothing of it may move or change its settings later.
        weights: that get gradients.
        rows: of every batch.
    """

    def __init__(
        self, model: PreTrainedModel, weights: Sequence[nn.Parameter], *, rows: int
    ) -> None:
        self._model = model
        self._weights = tuple(weights)
        self._rows = rows
        self._seen: Counter[tuple[int, int]] = Counter()
        self._made: dict[tuple[int, int], _Recording] = {}
        self._pool: Any = None

    def __len__(self) -> int:
        """Return how many shapes were recorded."""
        return len(self._made)

    def gradients(self, batch: Sequence[Example]) -> torch.Tensor:
        """Leave the gradients of ``batch`` in the weights, which have none; return its mean loss.

        Raises:
            RuntimeError: the model does something that cannot be recorded.
        """
        padded = PaddedBatch.of(batch, rows=self._rows, device=self._model.device)
        if self._seen[padded.shape] < _SEEN_BEFORE:
            self._seen[padded.shape] += 1
            return self._step(padded)
        if padded.shape not in self._made:
            self._made[padded.shape] = self._record(padded)
        recording = self._made[padded.shape]
        recording.batch.take(padded)
        recording.graph.replay()
        for weight, gradient in zip(self._weights, recording.gradients, strict=True):
            weight.grad = gradient
        return recording.loss.clone()

    def _step(self, padded: PaddedBatch) -> torch.Tensor:
        loss = padded.loss(self._model)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss.detach()

    def _record(self, padded: PaddedBatch) -> _Recording:
        """Record the work for ``padded`` and replay it once, to see that it is the same work.

        Raises:
            RuntimeError: something in it cannot be recorded, or its replay computes other
                gradients.
        """
        batch = PaddedBatch(
            ids=padded.ids.clone(), places=padded.places.clone(), weights=padded.weights.clone()
        )
        # What libraries set up at their first call on this stream must not be recorded.
        self._step(batch)
        expected = [weight.grad for weight in self._weights]
        for weight in self._weights:
            weight.grad = None
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=current):
                loss = self._step(batch)
        except RuntimeError as error:
            _clean_up(current)
            # What failed first; leaving the recording fails after it, and says less.
            raise RuntimeError(str(error.__context__ or error)) from error
        # Recordings are replayed one at a time and read at once, so they share their memory.
        self._pool = graph.pool()
        gradients = tuple(weight.grad for weight in self._weights)
        for weight in self._weights:
            weight.grad = None
        graph.replay()
        if not (off := distance(gradients, expected)) <= _SAME:
            raise RuntimeError(f"a replay's gradients are off by {off:.2g} of their norm")
        return _Recording(graph=graph, batch=batch, loss=loss, gradients=gradients)


def distance(
    found: Sequence[torch.Tensor | None], expected: Sequence[torch.Tensor | None]
) -> float:
    """Return the norm of the difference as a share of the norm of ``expected``.

    >>> round(distance([torch.tensor([3.0, 4.4]), None], [torch.tensor([3.0, 4.0]), None]), 3)
    0.08
    """
    if [one is None for one in found] != [one is None for one in expected]:
        return float("inf")
    pairs = [
        (mine, other)
        for mine, other in zip(found, expected, strict=True)
        if mine is not None and other is not None
    ]
    off = torch.stack([(mine - other).norm() for mine, other in pairs]).norm()
    norm = torch.stack([other.norm() for _, other in pairs]).norm()
    return float(off / norm) if norm > 0 else float(off)
