"""A real browser for tests: headless Chromium, controlled over a pipe with its debugging protocol."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "ArrowDown": (40, ""), "ArrowUp": (38, ""), "ArrowRight": (39, ""),
        "ArrowLeft": (37, ""), "Tab": (9, ""), "/": (191, "/")}  # fmt: skip


@contextmanager
def browser():
    """Yield a running browser; skip the test if there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--remote-debugging-pipe", "--disable-background-networking", "--no-first-run",
                   f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
        # Chromium reads commands from descriptor 3 and answers on descriptor 4.
        joined = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{from_write}', "chromium", *command]
        process = subprocess.Popen(joined, pass_fds=(to_read, from_write), stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        with os.fdopen(to_write, "wb", buffering=0) as writer, os.fdopen(from_read, "rb") as reader:
            try:
                yield Browser(reader, writer)
            finally:
                process.kill()
                process.wait()


class Browser:
    """Sends commands and returns their answers; events that arrive in between are kept."""

    def __init__(self, reader, writer):
        self._reader, self._writer, self._number, self._left = reader, writer, 0, b""
        self.events = []

    def call(self, method, session=None, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._writer.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self):
        while b"\0" not in self._left:
            read = self._reader.read1(65536)
            assert read, "the browser has gone"
            self._left += read
        message, self._left = self._left.split(b"\0", 1)
        return json.loads(message)

    def open(self, url, width=1280, height=900, **media):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)  # fmt: skip
        if media:
            page.call("Emulation.setEmulatedMedia", **media)
        page.call("Page.navigate", url=url)
        page.until(f"location.href.startsWith({url!r}) && document.readyState === 'complete'")
        return page


class Page:
    """One tab."""

    def __init__(self, owner, session):
        self._browser, self._session = owner, session

    def call(self, method, **params):
        return self._browser.call(method, self._session, **params)

    def ask(self, expression):
        """Return the value of an expression; promises are awaited."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition, seconds=60):
        """Wait until an expression is true on the current page, ignoring a page that a navigation is leaving."""
        end = time.monotonic() + seconds
        while not self.ask(f"(() => {{ try {{ return Boolean({condition}); }} catch {{ return false; }} }})()"):
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def press(self, *keys):
        """Press one key after the other: names from `KEYS`, letters and digits."""
        for key in keys:
            code, text = KEYS.get(key) or (ord(key.upper()), key)
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, text=text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def picture(self, path, *, whole=False):
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def complaints(self):
        """Return errors and warnings of the console, including those of the security policy."""
        self.ask("0")
        found = []
        for event in self._mine():
            if event["method"] == "Runtime.exceptionThrown":
                found.append(event["params"]["exceptionDetails"]["text"])
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] in {"error", "warning"}:
                found.append(event["params"]["entry"]["text"])
            if event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] in {"error", "warning"}:
                found.append(str(event["params"]["args"]))
        return found

    def requested(self):
        """Return every address that was requested."""
        return [
            event["params"]["request"]["url"]
            for event in self._mine()
            if event["method"] == "Network.requestWillBeSent"
        ]

    def _mine(self):
        return [event for event in self._browser.events if event.get("sessionId") == self._session]
