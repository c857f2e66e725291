"""Script: produce the same keys as other processes at the same time.

Usage: produce_many.py ROOT LOG N. Texts 0 to N-1 are produced in an order of this
process; prints the digests by text as JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

from counting_pass import CountingPass, InProcessExecutor

from autotune.passes import ArtifactStore, produce

root, log, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
texts = [str(number) for number in range(count)]
random.Random(os.getpid()).shuffle(texts)
digests = {}
for text in texts:
    produced = produce(
        CountingPass(text=text, log=log),
        {},
        store=ArtifactStore(root),
        executor=InProcessExecutor(),
        versions={},
    )
    digests[text] = produced.artifact.digest
sys.stdout.write(json.dumps(digests))
