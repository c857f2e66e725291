"""A script that the tests run: fails in the way that its payload asks for."""

import json
import os
import sys

payload = json.load(sys.stdin)
if payload["how"] == "error":
    print(json.dumps({"error": {"kind": "LoadError", "message": "no such provider"}}))
elif payload["how"] == "raise":
    raise KeyError("rank")
elif payload["how"] == "exit":
    sys.exit(7)
elif payload["how"] == "die":
    print("last words", flush=True)
    os._exit(9)
else:
    print("not JSON")
