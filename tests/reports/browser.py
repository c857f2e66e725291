"""A real browser for tests: Debian's chromium without a window, spoken to over a pipe.

The DevTools protocol runs over file descriptors 3 and 4 (``--remote-debugging-pipe``), so no
port is opened and no library is needed. https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

__all__ = ["Browser", "open_browser"]

# Nothing that would ask the network of its own accord.
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
)
_PATIENCE_S = 60.0


class Browser:
    """One page of a browser; ``events`` holds what it said beside answers, in order."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []

    def attach(self) -> Self:
        """Open an empty page and have it report its network, console and errors."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        return self

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the browser's answer to a command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == self._number:
                assert "error" not in said, said["error"]
                answer: dict[str, Any] = said["result"]
                return answer
            self.events.append(said)

    def open(self, page: Path, *, width: int = 1000, height: int = 900, dark: bool = False) -> None:
        """Show a file and wait until it is loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(said.get("method") == "Page.loadEventFired" for said in self.events):
            self.events.append(self._read())

    def value(self, script: str) -> Any:
        """Return what a JavaScript expression is on the page, as plain data."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"]
        return result.get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        codes = {"Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "Enter": 13}
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes[key]
            )

    def point(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path) -> None:
        """Write what is seen of the whole page as a PNG file."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def requested(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened."""
        asked = [s["params"] for s in self.events if s.get("method") == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in asked]

    def complaints(self) -> list[dict[str, Any]]:
        """Return what the console, the log and uncaught errors said since then."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [said for said in self.events if said.get("method") in kinds]

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], deadline - time.monotonic())
            assert ready, "the browser said nothing for a minute"
            part = os.read(self._from, 1 << 20)
            assert part, "the browser ended"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Give a browser whose files lie in ``profile``; it ends with the block."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program is not None
    read_here, write_there = os.pipe()
    read_there, write_here = os.pipe()

    def as_three_and_four() -> None:
        # Both away from 3 and 4 first: one of them may lie there already.
        ends = [os.dup(read_there), os.dup(write_there)]
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    with subprocess.Popen(
        [program, *_FLAGS, f"--user-data-dir={profile}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=as_three_and_four,  # noqa: PLW1509 - two calls of dup, no lock of ours is held
        env=os.environ | {"HOME": str(profile), "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
    ) as process:
        for end in (read_there, write_there):
            os.close(end)
        try:
            yield Browser(write_here, read_here).attach()
        finally:
            process.terminate()
            process.wait(timeout=30)
            for end in (read_here, write_here):
                os.close(end)
