"""Stand-alone script: load a built model, save last-position logits, generate a token.

Imports onnxruntime_genai and numpy only. Request as JSON on stdin (folder, provider,
prompts as token ids, where to save the logits), answer as the last line of stdout.
A runtime that crashes takes only this process with it.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from typing import Any


def main() -> None:
    """Answer one request."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the runtime is loaded
    import numpy as np  # noqa: PLC0415 - a process that only imports this module pays nothing

    request = json.load(sys.stdin)
    if request["libraries"]:
        runpy.run_path(request["libraries"])["load_nvidia_libraries"]()
    found, device = last_logits(request["folder"], request["provider"], request["prompts"])
    np.save(request["logits"], found)
    sys.stdout.write(json.dumps({"device": device}) + "\n")


def last_logits(folder: str, provider: str, prompts: list[list[int]]) -> tuple[Any, str]:
    """Return the logits after each of the prompts, (prompts, vocabulary), and the device."""
    import numpy as np  # noqa: PLC0415 - as above
    import onnxruntime_genai as og  # noqa: PLC0415 - after variable and libraries are set

    config = og.Config(folder)
    if provider != "cpu":
        config.clear_providers()
        config.append_provider(provider)
    model = og.Model(config)
    found = []
    for prompt in prompts:
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=len(prompt) + 1, do_sample=False, random_seed=0)
        generator = og.Generator(model, params)
        generator.append_tokens(prompt)
        # A copy: the runtime reuses the buffer. Without prune_lm_head the last position
        # is still all that get_logits returns.
        found.append(np.array(generator.get_logits(), dtype=np.float32).reshape(-1))
        generator.generate_next_token()
    return np.stack(found), str(model.device_type)


if __name__ == "__main__":
    main()
