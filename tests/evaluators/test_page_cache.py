"""How a file was written must not show in what a process that maps it takes."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

page_cache = import_module("autotune.evaluators.page_cache")

_MEGABYTES = 64
# A table of which some rows are read, as embeddings are, and by how much the resident set grew.
_READ_ROWS = """
import mmap, random, sys
def mapped():
    (line,) = [l for l in open("/proc/self/status") if l.startswith("RssFile")]
    return int(line.split()[1]) / 1024
file = open(sys.argv[1], "rb")
table = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
before, rows = mapped(), random.Random(0)
for _ in range(100):
    table[rows.randrange(len(table))]
print(mapped() - before)
"""


def grown_mb(path: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _READ_ROWS, path], capture_output=True, check=True, text=True
    )
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_files_written_in_any_way_take_the_same_afterwards(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096 * _MEGABYTES
    paths = []
    for piece in (len(content), 4096):  # in one go, and a page at a time
        (tmp_path / str(piece)).mkdir()
        paths.append(tmp_path / str(piece) / "model.onnx.data")
        with paths[-1].open("wb", buffering=0) as file:
            for start in range(0, len(content), piece):
                file.write(content[start : start + piece])
        page_cache.read_evenly(paths[-1].parent)
        assert paths[-1].read_bytes() == content
    in_one_go, by_pages = map(grown_mb, paths)
    assert 0 < in_one_go < 1.1 * _MEGABYTES
    assert in_one_go == pytest.approx(by_pages, rel=0.1)
