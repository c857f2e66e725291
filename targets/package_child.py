"""Script: have onnxruntime read a model package, and make a session of its processor variant.

Needs the standard library and onnxruntime. The reader of 1.32 refuses unknown fields, paths
that lead out of the package and folders that are not there.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

_CPU = "CPUExecutionProvider"


def read(folder: str, component: str) -> dict[str, Any]:
    """Return providers by variant, and which variant a session on the processor was made of."""
    ort = importlib.import_module("onnxruntime")  # telemetry is switched off in main first
    if not hasattr(ort, "ModelPackageContext"):
        return {"error": {"kind": "no_reader", "message": f"onnxruntime {ort.__version__}"}}
    ort.ModelPackage.open(folder).close()  # strict about fields that it does not know
    package = ort.ModelPackageContext(folder)
    names = package.get_variant_names(component)
    providers = {name: package.get_variant_ep_name(component, name) for name in names}
    chosen = ""
    if _CPU in providers.values():
        options = ort.ModelPackageOptions(ort.SessionOptions())
        selected = package.select_component(component, options)
        selected.create_session()
        chosen = selected.get_selected_variant_name()
    return {"providers": providers, "chosen": chosen}


def main() -> None:
    """Answer the request on stdin with one line."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    request = json.loads(sys.stdin.buffer.read())
    try:
        result = read(request["folder"], request["component"])
    except ImportError as error:
        result = {"error": {"kind": "no_reader", "message": str(error)}}
    except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own
        result = {"error": {"kind": "refused", "message": str(error)}}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
