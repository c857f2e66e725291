"""A script that the tests run: answers with its payload and what it sees of its process."""

import json
import sys

payload = json.load(sys.stdin)
print("a line for the log")
print("a warning for the log", file=sys.stderr)
result = {
    "payload": payload,
    "modules": sorted(name for name in sys.modules if name.split(".")[0] == "autotune"),
    "path": sys.path,
    "name": __name__,
}
print(json.dumps(result))
if payload.get("line_after"):
    print("printed by native code while it shuts down")
