"""Every recipe on a tiny model: refused before building, or built, loaded and in agreement.

    python -m bench.matrix [--pairs] [--provider cpu] [--what-is-refused] [--csv OUT]

The whole product of precision, block size, algorithm, mixed precision, symmetry, head,
embedding and accuracy level, on models with tied and with own head and of one and two layers.
``--pairs`` takes a subset in which every pair of values that is ever built together is; for
providers other than the processor graphs are built and their attributes read, not run.
``--what-is-refused`` builds what the rules for weights refuse, to see what becomes of it.

The model's logits have a standard deviation of 0.15 (``_EMBEDDING_STD``): honest rounding to
four bits moves one by 0.25 at most and exchanging its two layers by 0.7, so the bound of 0.3
lets the first pass and not the second; with ``--pairs`` graphs whose layers are exchanged are
examined too, and counted by how many are found. What rounding would hide is found by comparing
with the model that has the graph's own weights.
"""

from .examine import Row, examine
from .fixtures import Fixture, make_fixtures
from .product import pairs, product

__all__ = ["Fixture", "Row", "examine", "make_fixtures", "pairs", "product"]
