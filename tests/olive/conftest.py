"""Small configurations in both schemas, written to files; the cookbook's where it is there."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.olive import OlivePlan, OliveRequest, read_olive

COOKBOOK = Path(__file__).parents[2].parent / "shared" / "data" / "olive-cookbook"
TEMPLATE = "Line: {line}\nMood:\n{mood}"

# Olive 0.13's spelling.
NEW: dict[str, Any] = {
    "input_model": {"type": "HfModel", "model_path": "model"},
    "systems": {
        "here": {
            "type": "LocalSystem",
            "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
        }
    },
    "data_configs": [
        {
            "name": "moods",
            "type": "HuggingfaceContainer",
            "load_dataset_config": {"data_name": "json", "data_files": "rows.jsonl"},
            "pre_process_data_config": {
                "text_template": TEMPLATE,
                "strategy": "join",
                "max_seq_len": 48,
            },
        }
    ],
    "passes": {
        "tune": {
            "type": "LoRA",
            "r": 4,
            "alpha": 8,
            "lora_dropout": 0.0,
            "target_modules": ["qkv_proj", "o_proj"],
            "train_data_config": "moods",
            "eval_dataset_size": 0.5,
            "training_args": {
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": 1,
                "learning_rate": 0.002,
                "max_steps": 3,
                "seed": 7,
            },
        },
        "fold": {"type": "MergeAdapterWeights"},
        "make": {"type": "ModelBuilder", "precision": "fp32"},
    },
    "host": "here",
    "target": "here",
}

# The same, as it was written in 2024.
OLD: dict[str, Any] = {
    "input_model": {
        "type": "PyTorchModel",
        "config": {"hf_config": {"model_name": "model", "task": "text-generation"}},
    },
    "systems": {
        "here": {
            "type": "LocalSystem",
            "config": {
                "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]
            },
        }
    },
    "data_configs": {
        "moods": {
            "name": "moods_of_lines",
            "type": "HuggingfaceContainer",
            "params_config": {
                "data_name": "json",
                "data_files": "rows.jsonl",
                "component_kwargs": {
                    "pre_process_data": {
                        "dataset_type": "corpus",
                        "text_cols": ["line", "mood"],
                        "text_template": TEMPLATE,
                        "corpus_strategy": "join",
                        "source_max_len": 48,
                    }
                },
            },
        }
    },
    "passes": {
        "tune": {
            "type": "LoRA",
            "config": {
                "lora_r": 4,
                "lora_alpha": 8,
                "lora_dropout": 0.0,
                "target_modules": ["qkv_proj", "o_proj"],
                "train_data_config": "moods",
                "eval_dataset_size": 0.5,
                "training_args": copy.deepcopy(NEW["passes"]["tune"]["training_args"]),
            },
        },
        "fold": {"type": "MergeAdapterWeights"},
        "make": {"type": "ModelBuilder", "config": {"precision": "fp32"}},
    },
    "engine": {"host": "here", "target": "here"},
}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of 48 rows with two moods."""
    path = tmp_path / "rows.jsonl"
    moods = ("calm", "wild")
    lines = [{"line": f"the sea on day {n}", "mood": moods[n % 2]} for n in range(48)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


Write = Callable[[dict[str, Any]], Path]
Read = Callable[..., OlivePlan]


@pytest.fixture
def write(tmp_path: Path, rows: Path) -> Write:
    """Write a configuration beside the rows and return its path."""
    del rows

    def to_file(document: dict[str, Any]) -> Path:
        path = tmp_path / "olive.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    return to_file


@pytest.fixture
def read(write: Write) -> Read:
    """Write a configuration, with the changes of ``--set``, and read it."""

    def plan(document: dict[str, Any], *sets: str, **flags: Any) -> OlivePlan:
        return read_olive(OliveRequest(path=write(document), sets=sets, **flags))

    return plan


@pytest.fixture
def cookbook() -> Path:
    """The folder with the tutorial's files."""
    if not COOKBOOK.is_dir():
        pytest.skip("the tutorial's files are not part of the repository (../shared)")
    return COOKBOOK
