from __future__ import annotations

import math
import subprocess
import sys
from importlib import import_module
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.candidate import AdapterConfig

# Inside the folder, so no type checker sees them from here.
outlook = import_module("autotune.search.outlook")
Outlook, Training = outlook.Outlook, import_module("autotune.search.ledger").Training
expected_improvement, final_outlooks = outlook.expected_improvement, outlook.final_outlooks


@given(
    st.floats(min_value=-3, max_value=3),
    st.floats(min_value=0.05, max_value=1),
    st.floats(min_value=-3, max_value=3),
)
def test_the_closed_form_agrees_with_sampling(mean: float, sd: float, best: float) -> None:
    random = Random(0)
    draws = [max(best - random.gauss(mean, sd), 0.0) for _ in range(20_000)]
    sampled = sum(draws) / len(draws)
    closed = expected_improvement(Outlook(mean=mean, sd=sd), best)
    assert closed == pytest.approx(sampled, abs=5 * sd / math.sqrt(len(draws)))


def test_a_certain_outlook_improves_by_its_distance_or_not_at_all() -> None:
    assert expected_improvement(Outlook(mean=-2.0, sd=0.0), -1.5) == 0.5
    assert expected_improvement(Outlook(mean=-1.0, sd=0.0), -1.5) == 0.0


def _training(seed: int, **nll: float) -> Any:
    rungs = {"third": 1 / 3, "full": 1.0}
    losses = {rungs[name]: value for name, value in nll.items()}
    adapter = AdapterConfig(seed=seed)
    return Training(adapter=adapter, name=adapter.name, nll=losses)


def test_an_unfinished_training_is_expected_to_fall_like_those_before_it() -> None:
    done = _training(0, third=0.4, full=0.1)
    open_ = _training(1, third=0.4)
    alone = final_outlooks([open_])[open_.adapter.name]
    taught = final_outlooks([done, open_])[open_.adapter.name]
    assert math.log(0.1) < taught.mean < alone.mean < math.log(0.4)
    assert alone.sd > 0
    assert final_outlooks([done])[done.adapter.name] == Outlook(mean=math.log(0.1), sd=0.0)


def test_a_rung_leaves_less_doubt_than_no_training_and_is_believed_in_part() -> None:
    trainings = [_training(seed, third=loss) for seed, loss in enumerate((0.4, 0.5, 0.7))]
    outlooks = final_outlooks(trainings)
    new = outlook.new_outlook(outlooks.values())
    found = [outlooks[training.adapter.name] for training in trainings]
    assert all(0 < one.sd < new.sd for one in found)
    means = [one.mean for one in found]
    assert means == sorted(means)
    # Closer to each other than the losses are.
    assert means[2] - means[0] < math.log(0.7) - math.log(0.4)


def test_where_losses_lie_close_a_clearly_worse_rung_is_not_worth_going_on_with() -> None:
    done = [_training(n, third=0.50 + n / 500, full=0.40 + n / 500) for n in range(4)]
    worse = _training(9, third=0.56)
    outlooks = final_outlooks([*done, worse])
    best = math.log(0.40)
    hopeless = expected_improvement(outlooks[worse.adapter.name], best)
    assert hopeless < 0.5 * expected_improvement(outlook.new_outlook(outlooks.values()), best)


def test_nothing_known_gives_no_outlook() -> None:
    assert final_outlooks([]) == {}
    assert outlook.best_training([]) is None


def test_a_new_config_is_expected_to_be_like_the_others_with_room_for_surprise() -> None:
    belief = outlook.new_outlook([Outlook(mean=-2.0, sd=0.0), Outlook(mean=-2.0, sd=0.0)])
    assert belief.mean == -2.0
    assert belief.sd > 0.1


def test_importing_the_search_loads_no_heavy_library() -> None:
    code = (
        "import autotune.search, sys;"
        "heavy = {'torch', 'onnxruntime', 'onnxruntime_genai', 'optuna', 'transformers', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
