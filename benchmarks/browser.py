"""A headless Chromium that opens a page from the disk, for tests and benchmarks of pages."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_browser() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page in a Chromium without a window and without a GPU; a context manager."""

    def __init__(self, program: str, width: int = 400, height: int = 400) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--disable-background-networking",
            "--no-first-run",
            "--remote-debugging-port=0",
            f"--window-size={width},{height}",
            f"--user-data-dir={self._profile.name}",
        ]
        self._process = subprocess.Popen(
            [program, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._count = 0
        self.log: list[str] = []

    def __enter__(self) -> Browser:
        port_file = Path(self._profile.name) / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (port_file.is_file() and port_file.read_text().strip()):
            if time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError("the browser did not start")
            time.sleep(0.1)
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            pages = [t for t in json.load(answer) if t["type"] == "page"]
        self._socket = connect(pages[0]["webSocketDebuggerUrl"], max_size=None)
        for domain in ("Runtime", "Page", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        self._profile.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol and its answer; requests and errors go to `log`."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._count:
                return message.get("result", message)
            if message.get("method") == "Network.requestWillBeSent":
                self.log.append("request " + message["params"]["request"]["url"][:200])
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.log.append("error " + json.dumps(message["params"])[:400])
            if message.get("method") == "Runtime.consoleAPICalled" and message["params"]["type"] == "error":
                said = [part.get("value", part.get("description")) for part in message["params"]["args"]]
                self.log.append("error " + json.dumps(said)[:400])

    def evaluate(self, expression: str) -> Any:
        return self.send("Runtime.evaluate", expression=expression)["result"].get("value")

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, x: float, y: float, across: float, steps: int = 8) -> None:
        """Presses the left button at (x, y), moves `across` pixels to the right, and lets it go."""
        self.send("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
        for i in range(1, steps + 1):
            to = x + across * i / steps
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=to, y=y, button="left", buttons=1)
            time.sleep(0.05)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=x + across, y=y, button="left")

    def wait_until(self, expression: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(f"never came true: {expression}; {self.log}")
            time.sleep(0.1)

    def screenshot(self) -> np.ndarray:
        """RGB, 8 bits. A busy machine sometimes refuses for a moment."""
        deadline = time.monotonic() + 30
        while "data" not in (reply := self.send("Page.captureScreenshot", format="png")):
            if time.monotonic() > deadline:
                raise RuntimeError(f"no screenshot: {reply}")
            time.sleep(0.5)
        data = reply["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
