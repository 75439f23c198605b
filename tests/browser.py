"""Headless Chromium over the DevTools protocol, for the tests of the web page."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio
import trio_websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--remote-debugging-port=0",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--mute-audio",
)
START_S, CALL_S, POLL_S = 20.0, 10.0, 0.05
MESSAGE_BYTES = 32 * 1024 * 1024


def find_chromium() -> str | None:
    """The browser's program, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class PageError(Exception):
    """JavaScript threw, or DevTools refused."""


class Tab:
    """A page that is open in the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session
        self.complaints: list[str] = []
        """Uncaught errors, and what the page or the browser logged as an error."""

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A DevTools command to this page."""
        return await self.browser.call(method, self.session, **params)

    async def run(self, script: str) -> Any:
        """The value of an expression; promises are awaited."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise PageError(answer["exceptionDetails"].get("exception", {}).get("description", answer))
        return answer["result"].get("value")

    async def until(self, script: str, timeout_s: float = 20.0) -> Any:
        """Wait until an expression is true; returns its value."""
        with trio.move_on_after(timeout_s):
            while not (value := await self.run(script)):  # noqa: ASYNC110  (another process)
                await trio.sleep(POLL_S)
            return value
        state = await self.run("JSON.stringify([document.body.innerText, window.aura?.stats])")
        raise AssertionError(f"not true within {timeout_s:g} s: {script}\n{state}\n{self.complaints}")

    async def open(self, url: str) -> None:
        """Load a page of AURA's."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && Boolean(window.aura)")

    async def press(self, key: str, code: str = "") -> None:
        """One key."""
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        virtual = {"Escape": 27, "Enter": 13, " ": 32, "Tab": 9}[key]
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=code or key, windowsVirtualKeyCode=virtual, **text
            )

    async def looks(self, *, width: int, height: int, dark: bool = False, calm: bool = False) -> None:
        """Size and preferences."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=width < 600
        )
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"},
        ]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def photograph(self, path: Path) -> None:
        """What is seen, as a PNG file."""
        answer = await self.call("Page.captureScreenshot", format="png")
        await trio.Path(path).write_bytes(base64.b64decode(answer["data"]))

    def note(self, method: str, params: dict[str, Any]) -> None:
        """An event of the page."""
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


class Browser:
    """A running browser."""

    def __init__(self, ws: trio_websocket.WebSocketConnection) -> None:
        self._ws = ws
        self._number = 0
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}
        self.contexts: list[str] = []

    async def pump(self) -> None:
        """Hand out what the browser sends. Runs until the browser is gone."""
        try:
            while True:
                message = msgspec.json.decode(await self._ws.get_message())
                if (waiting := self._waiting.pop(message.get("id", 0), None)) is not None:
                    waiting.send_nowait(message)
                elif (tab := self._tabs.get(message.get("sessionId", ""))) is not None:
                    tab.note(message["method"], message["params"])
        except trio_websocket.ConnectionClosed:
            return

    async def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """A DevTools command."""
        self._number += 1
        number = self._number
        answer_in, answer_out = trio.open_memory_channel[dict[str, Any]](1)
        self._waiting[number] = answer_in
        to = {"sessionId": session} if session else {}
        command = {"id": number, "method": method, "params": params, **to}
        await self._ws.send_message(msgspec.json.encode(command).decode())
        with trio.fail_after(CALL_S):
            answer = await answer_out.receive()
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def tab(self) -> Tab:
        """A new, empty page with its own storage and permissions."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        self.contexts.append(context)
        made = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        tab = self._tabs[attached["sessionId"]] = Tab(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            await tab.call(f"{domain}.enable")
        return tab


@contextmanager
def chromium(*flags: str) -> Iterator[str]:
    """Run a browser with a fresh profile; yields the address of its DevTools. Blocks while it starts: for fixtures."""
    program = find_chromium()
    assert program, "there is no browser"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = [program, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
        home = {**os.environ, "HOME": profile}
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=home)
        try:
            yield address(Path(profile) / "DevToolsActivePort")
        finally:
            process.terminate()
            try:
                process.wait(CALL_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def address(file: Path) -> str:
    """Where DevTools listens, once the browser has written it down."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) >= 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(POLL_S)
    raise TimeoutError(f"the browser did not start within {START_S:g} s")


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Browser]:
    """A connection to a browser; the tabs that were opened over it are closed with it."""
    async with (
        trio_websocket.open_websocket_url(url, max_message_size=MESSAGE_BYTES) as ws,
        trio.open_nursery() as nursery,
    ):
        browser = Browser(ws)
        nursery.start_soon(browser.pump)
        yield browser
        for context in browser.contexts:
            await browser.call("Target.disposeBrowserContext", browserContextId=context)
        nursery.cancel_scope.cancel()
