"""The session page in a real browser, on recordings written by hand."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.server.drain import Drain
from aura.server.http import pages
from aura.server.listener import serve
from aura.server.sessions import session_routes
from aura.server.settings import ServerSettings
from tests.browser import Browser, Tab, chromium, connect, find_chromium
from tests.recorded_call import ANSWER, DAY, HEARD, NAME, SAID, SECONDS, UNHEARD, UNSENT, write

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="needs Chromium (or Chrome) on the PATH"),
]
KEY = "a key of the operator's"
VIEW = "window.aura.view"
READY = "document.getElementById('page').ariaBusy === 'false'"
NO_KEY_YET = "401"
"""What the browser logs when the page asks without a key, as it does at first."""


@pytest.fixture(scope="module")
def devtools() -> Iterator[str]:
    with chromium() as url:
        yield url


@pytest.fixture
async def browser(devtools: str) -> AsyncIterator[Browser]:
    with trio.fail_after(60):
        async with connect(devtools) as running:
            yield running


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[str]:
    """A server with a recording, a branch of it and a broken one; its address."""
    folder = write(tmp_path)
    branch = shutil.copytree(folder, folder.with_name(f"{NAME}-branch-1"))
    for name in ("journal.jsonl", "tape.jsonl"):
        text = (branch / name).read_text().replace('"silence_s":0.5', '"silence_s":0.3')
        (branch / name).write_text(
            text.replace('"at":2.0,', '"at":1.8,').replace('"silence_ms":500', '"silence_ms":300')
        )
    broken = shutil.copytree(folder, folder.with_name("sess_broken"))
    (broken / "tape.jsonl").write_bytes((folder / "tape.jsonl").read_bytes()[:40_000])
    app = pages(Health(), Metrics(), Drain(), lambda: session_routes(tmp_path, KEY))

    async def hold(*_: object) -> None:
        """Nobody converses here."""

    async def start(task_status: trio.TaskStatus[int]) -> None:
        await serve(ServerSettings(port=0), hold, app, drain=Drain(), task_status=task_status)

    async with trio.open_nursery() as nursery:
        port = await nursery.start(start)
        yield f"http://127.0.0.1:{port}/sessions/"
        nursery.cancel_scope.cancel()


async def entered(browser: Browser, address: str, width: int = 1280) -> Tab:
    """The page, with the key in its link."""
    tab = await browser.tab()
    await tab.looks(width=width, height=900)
    await tab.open(f"{address}#key={KEY}".replace(" ", "%20"))
    await tab.until(f"{READY} && {VIEW}")
    return tab


async def click(tab: Tab, x: float, y: float) -> None:
    for kind in ("mousePressed", "mouseReleased"):
        await tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


def texts(selector: str) -> str:
    return f"[...document.querySelectorAll({selector!r})].map((one) => one.innerText)"


async def test_a_recording_is_found_opened_seen_and_heard(browser: Browser, site: str) -> None:
    tab = await browser.tab()
    await tab.looks(width=1280, height=900)
    await tab.open(site)
    await tab.until("document.activeElement.id === 'key'")
    await tab.call("Input.insertText", text="not the key at all")
    await tab.press("Enter")
    assert "not the operator's key" in await tab.until("document.querySelector('.trouble').innerText")
    await tab.call("Input.insertText", text=KEY)  # the wrong one is marked
    await tab.press("Enter")
    await tab.until("document.querySelectorAll('.recording').length === 3")
    await tab.run("document.getElementById('search').focus()")
    await tab.call("Input.insertText", text="four")
    await tab.until("document.querySelector('mark')?.innerText === 'four'")
    await tab.run(f"document.querySelector('[data-id=\"{DAY}/{NAME}\"] .open').click()")
    await tab.until(f"{READY} && {VIEW}.timeline?.boxes.length > 10")
    assert await tab.run(texts(".said .user .words")) == [SAID, "what time is it"]
    assert await tab.run(texts(".sentence")) == [SAID, HEARD, "what time is it", ANSWER]
    assert await tab.run(texts("del")) == [UNHEARD.strip(), UNSENT.strip()]
    kinds = set(await tab.run(f"{VIEW}.timeline.boxes.map((box) => box.mark.kind)"))
    assert kinds == {"speech", "answer", "state", "overlap", "latency", "call", "problem"}
    await tab.until(f"{VIEW}.peaks.blocks.size === 2")
    left, top, per_s = await tab.run(
        f"(() => {{ const t = {VIEW}.timeline, r = t.canvas.getBoundingClientRect();"
        "return [r.left + t.view.x(0), r.top + t.place.lanes.assistant.top + 20, t.view.scale]; })()"
    )
    await click(tab, left + 2.5 * per_s, top)
    await tab.until(f"{VIEW}.player.position > 2.6")
    assert await tab.run(f"{VIEW}.player.position") < SECONDS
    assert await tab.until("document.querySelector('.lit')?.innerText") == HEARD
    await tab.press(" ")
    await tab.until(f"!{VIEW}.player.playing && location.hash.startsWith('#t=')")
    await tab.run(f"{VIEW}.player.seek(0)")
    for _ in range(4):
        await tab.run(f"{VIEW}.timeline.step(1)")
    assert "Interruption" in await tab.run("document.querySelector('.details').innerText")
    assert "620 ms" in await tab.run("document.querySelector('.details').innerText")
    assert [text for text in tab.complaints if NO_KEY_YET not in text] == []


async def test_a_recording_and_its_branch_stand_side_by_side(browser: Browser, site: str) -> None:
    tab = await entered(browser, f"{site}?id={DAY}/{NAME}&with={DAY}/{NAME}-branch-1")
    assert KEY not in await tab.run("location.href + document.cookie")
    await tab.until("document.querySelectorAll('.timeline').length === 2")
    assert "They part at 0:01.80, with fact 7." in await tab.run("document.querySelector('.sub').innerText")
    assert await tab.run(texts(".differs strong")) == ["TurnEnded", "TurnEnded"]
    assert await tab.run(texts(".changed tbody td")) == ["0.5", "0.3"]
    marks = await tab.run(f"{VIEW}.sides.map((side) => side.timeline.marks.partings[0].begin)")
    assert marks == [2.0, 1.8]
    assert tab.complaints == []


async def test_a_broken_recording_is_shown_as_far_as_it_goes_and_fits_a_phone(browser: Browser, site: str) -> None:
    tab = await entered(browser, f"{site}?id={DAY}/sess_broken#t=1.2".partition("#")[0], width=390)
    assert "it breaks off here" in await tab.run("document.querySelector('.damage').innerText")
    assert SAID in await tab.run(texts(".said .words"))
    wide = "document.documentElement.scrollWidth > 390 || document.getElementById('page').scrollWidth > 390"
    assert not await tab.run(wide)
    await tab.run("document.querySelector('.back').click()")
    await tab.until("document.querySelectorAll('.recording').length === 3")
    assert not await tab.run(wide)
    await tab.run("document.getElementById('logout').click()")
    await tab.until("document.getElementById('key') !== null")
    assert tab.complaints == []
