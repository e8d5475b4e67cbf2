"""A headless Chromium that a test drives, over the pipes of its own debugging protocol."""

import contextlib
import fcntl
import json
import os
import pathlib
import select
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run")
FLAGS += ("disable-background-networking", "disable-component-update", "disable-sync")
FLAGS += ("remote-debugging-pipe",)
PATIENCE = 60  # seconds without an answer


def chromium() -> str:
    """Where the browser is; skips the test, loudly, on a machine without one."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip("no chromium on this machine: what the report does in a browser is SKIPPED")
    return found


class Page:
    """One page of the browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._rest, self._sent = to_browser, from_browser, b"", 0
        self._session: dict[str, str] = {}
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.send("Page.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol; what it returns."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters, **self._session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        answer = self._wait(lambda message: message.get("id") == self._sent)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path: pathlib.Path, fragment: str = "", size: tuple[int, int] = (1280, 900)):
        """Loads a file and waits until its script has run."""
        width, height = size
        self.send(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        # From elsewhere: a change of the fragment alone would load nothing.
        for address in ("about:blank", f"{path.as_uri()}{fragment}"):
            self.send("Page.navigate", url=address)
            self._wait(lambda message: message.get("method") == "Page.loadEventFired")

    def run(self, steps: str) -> Any:
        """What an async function with these steps returns; an exception in it fails the test."""
        expression = f"(async () => {{{steps}\n}})()"
        result = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def _wait(self, wanted: Any) -> dict[str, Any]:
        """The next message that is wanted; others are passed over."""
        while True:
            while b"\0" not in self._rest:
                ready, _, _ = select.select([self._from], [], [], PATIENCE)
                assert ready, "the browser does not answer"
                self._rest += os.read(self._from, 1 << 20)
            line, _, self._rest = self._rest.partition(b"\0")
            message = json.loads(line)
            if wanted(message):
                return message


@contextlib.contextmanager
def browser(executable: str, profile: pathlib.Path) -> Iterator[Page]:
    """A page of a new browser, which remembers things in its profile, and ends with the context."""
    pipes = [os.pipe(), os.pipe()]
    # The browser reads from 3 and writes to 4; its ends must not lie there before they are moved.
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (pipes[0][0], pipes[1][1])]
    moves = [(os.POSIX_SPAWN_DUP2, end, place) for end, place in zip(theirs, (3, 4), strict=True)]
    moves.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
    flags = [f"--{flag}" for flag in (*FLAGS, f"user-data-dir={profile}")]
    process = os.posix_spawn(executable, [executable, *flags], os.environ, file_actions=moves)
    for end in (*theirs, pipes[0][0], pipes[1][1]):
        os.close(end)
    try:
        page = Page(pipes[0][1], pipes[1][0])
        yield page
        page._session = {}
        page.send("Browser.close")
    finally:
        os.close(pipes[0][1])  # without its master the browser ends, too
        os.waitpid(process, 0)
        os.close(pipes[1][0])
