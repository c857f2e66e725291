"""Depths that a run may try: where they help, which ones, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.config import RunConfig
from autotune.constraint import Constraint, parse_constraint
from autotune.depths import DepthOffer, offer_depths
from autotune.errors import UsageError
from autotune.list_flags import read_layers
from autotune.passes import ModelSource, folder_artifact, read_architecture

from .passes.model_files import write_model

LATENCY = parse_constraint("latency<=50ms")


def _offer(
    folder: Path,
    *,
    asked: tuple[int, ...] | None = None,
    bound: Constraint | None = LATENCY,
    total: int = 30,
    target_report: str | None = None,
    architecture: str = "LlamaForCausalLM",
) -> DepthOffer:
    write_model(folder, num_hidden_layers=total, architectures=[architecture])
    source = ModelSource(
        spec="some",
        artifact=folder_artifact(folder),
        architecture=read_architecture(folder),
        revision_or_digest="",
        download_s=0.0,
        license_path=None,
    )
    bounds = () if bound is None else (bound,)
    config = RunConfig(constraints=bounds, layers=asked, target_report=target_report)
    return offer_depths(config, source)


@pytest.mark.parametrize(("total", "layers"), [(30, (25, 20, 15)), (32, (27, 21, 16)), (4, (3, 2))])
def test_a_bound_on_cost_brings_five_sixths_two_thirds_and_half(
    total: int, layers: tuple[int, ...], tmp_path: Path
) -> None:
    found = _offer(tmp_path, total=total)
    assert found.layers == layers
    assert not found.is_asked


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bound": None}, "no bound on time, memory or size"),
        ({"bound": parse_constraint("accuracy>=0.9")}, "no bound on time, memory or size"),
        ({"asked": ()}, "--layers all"),
        ({"total": 2}, "the model has only 2 layers"),
        ({"target_report": "edge.json"}, "the census of --target-report is of whole models"),
        ({"architecture": "GptOssForCausalLM"}, "keeps all its layers"),
    ],
)
def test_the_offer_says_why_there_is_no_depth(
    changed: dict[str, object], words: str, tmp_path: Path
) -> None:
    found = _offer(tmp_path, **changed)  # type: ignore[arg-type]  # each of its own type
    assert found.layers == ()
    assert words in found.reason


def test_depths_that_were_asked_for_are_tried_without_a_bound(tmp_path: Path) -> None:
    found = _offer(tmp_path, asked=read_layers("20, 28"), bound=None)
    assert found.layers == (28, 20)
    assert found.is_asked


@pytest.mark.parametrize("kept", [14, 30, 31])
def test_too_few_layers_or_all_of_them_are_refused_with_what_is_possible(
    kept: int, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"--layers are 15 to 29 of the 30 of .* got {kept}"):
        _offer(tmp_path, asked=(kept,))


def test_asking_where_no_layer_can_go_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is of whole models; drop the flag"):
        _offer(tmp_path, asked=(20,), target_report="edge.json")


@pytest.mark.parametrize("text", ["", "all,20", "twenty", "20,,25", "20,20", "0", "-3", "2.5"])
def test_a_list_of_layers_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--layers"):
        read_layers(text)
