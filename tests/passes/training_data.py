"""A training set of token ids for the tiny model: four answers, decided by the first token."""

from __future__ import annotations

import json
import random
from pathlib import Path

__all__ = ["write_training_data"]

_ANSWERS = ((10,), (20, 21), (30,), (40, 41))


def write_training_data(folder: Path, *, rows: int = 44, probe: int = 6, seed: int = 0) -> Path:
    """Fill ``folder`` with a ``train.json`` of rows of 6 to 20 tokens."""
    rng = random.Random(seed)

    def row() -> dict[str, object]:
        kind = rng.randrange(4)
        prompt = [60 + kind, *(rng.randrange(100, 300) for _ in range(rng.randrange(3, 16)))]
        return {"ids": [*prompt, *_ANSWERS[kind], 0], "answer_start": len(prompt)}

    data = {"examples": [row() for _ in range(rows)], "probe": [row() for _ in range(probe)]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.json").write_text(json.dumps(data), encoding="utf-8")
    return folder
