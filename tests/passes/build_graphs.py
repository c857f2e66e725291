"""Script: build graphs in one process, which the builder leaves its names in.

Reads a list of [recipe name, model folder, folder to make] as JSON.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

from autotune.candidate import read_recipe

# Behind the folder's front door.
create_graph = import_module("autotune.passes.build").create_graph

for name, model, built in json.load(sys.stdin):
    Path(built).mkdir(parents=True)
    create_graph(read_recipe(name), Path(model), Path(built))
