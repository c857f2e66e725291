"""Every recipe on a tiny model: refused before building, or built, loaded and in agreement.

    python -m bench.matrix [--pairs | --every-level] [--provider cpu] [--csv OUT]
    python -m bench.matrix --what-is-refused

The whole product of precision, block size, algorithm, mixed precision, symmetry, head and
embedding, on models with tied and with own head, of one layer and of two; accuracy levels in
pairs with all that. ``--pairs`` takes a subset in which every pair of values that is ever built
together is, ``--every-level`` the whole product. For providers other than the processor graphs
are built and their attributes read, not run. ``--what-is-refused`` builds what the rules for
weights refuse, to see what becomes of it.

The model's logits have a standard deviation of 0.15: honest rounding to four bits moves one by
0.25 at most and exchanging its two layers by 0.7, so the bound of 0.3 lets the first pass and
not the second; with ``--pairs`` graphs whose layers are exchanged are examined too, and counted
by how many are found. What rounding would hide is found by comparing with the model that has
the graph's own weights.
"""

from .examine import Row, examine
from .fixtures import Fixture, make_fixtures
from .product import pairs, product

__all__ = ["Fixture", "Row", "examine", "make_fixtures", "pairs", "product"]
