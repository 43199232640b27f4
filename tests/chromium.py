"""A real browser, driven over its debugging pipe: no driver, no network but loopback."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

KEYS = {"Enter": 13, "ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39, "Escape": 27, "Tab": 9}


class Chromium:
    """One page in a headless browser."""

    def __init__(self, *, width=1280, height=860, dark=False):
        self._folder = tempfile.mkdtemp(prefix="chromium-")
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        # The browser reads commands on descriptor 3 and writes on 4; high ones first, as they may be those.
        high = [os.dup2(end, 100 + i, inheritable=True) for i, end in enumerate((commands, answers))]
        arguments = [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-extensions", "--hide-scrollbars", "--remote-debugging-pipe",
            f"--user-data-dir={self._folder}", f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        shell = ["bash", "-c", 'exec "$@" 3<&100 4>&101 100<&- 101>&-', "bash", *arguments]
        self._process = subprocess.Popen(shell, pass_fds=high, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (*high, commands, answers):
            os.close(end)
        self._buffer = b""
        self._number = 0
        self.errors = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.do("Page.enable")
        self.do("Runtime.enable")
        self.do("Log.enable")
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        if dark:
            self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            os.close(self._to)
        self._process.terminate()
        self._process.wait(20)
        os.close(self._from)
        shutil.rmtree(self._folder, ignore_errors=True)

    def do(self, method, **parameters):
        """A command of the DevTools protocol to the page."""
        return self._call(method, session=self._session, **parameters)

    def open(self, url):
        """Go to an address, and return when its scripts have run."""
        self.do("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def run(self, script):
        """The value of an expression in the page; promises are waited for."""
        found = self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script, seconds=30):
        """Until an expression is true; its value."""
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"never true: {script}; errors: {self.errors}"
            time.sleep(0.03)
        return found

    def press(self, *keys):
        for key in keys:
            code = KEYS.get(key)
            event = {"key": key} if code is None else {"key": key, "code": key, "windowsVirtualKeyCode": code}
            text = {"text": key} if code is None else {"text": "\r"} if key == "Enter" else {}
            self.do("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **event, **text)
            self.do("Input.dispatchKeyEvent", type="keyUp", **event)

    def picture(self, path):
        """A screenshot of what is in view."""
        Path(path).write_bytes(base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"]))

    def _call(self, method, session=None, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(answer["params"]["exceptionDetails"])
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.errors.append(answer["params"]["entry"])

    def _receive(self):
        while b"\0" not in self._buffer:
            part = os.read(self._from, 1 << 16)
            assert part, "the browser is gone"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
