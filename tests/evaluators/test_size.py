from __future__ import annotations

from pathlib import Path

import pytest

from autotune.evaluators import measure_size


def test_size_is_all_that_deploys_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x" * 10)
    (tmp_path / "model.onnx.data").write_bytes(b"x" * 1000)
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "tokenizer.json").write_bytes(b"x" * 5)
    (tmp_path / "manifest.json").write_bytes(b"x" * 300)
    size = measure_size(tmp_path)
    assert (size.metric, size.unit, size.value, size.n) == ("size", "B", 1015.0, 1)


def test_an_empty_folder_has_no_size(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found none"):
        measure_size(tmp_path)
