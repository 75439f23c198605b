"""The fake providers send what the real ones are documented to send: each dialect against frames written by hand.

A file of `tests/fakes/golden` names its source and date in the first line, and then what goes over the wire: `send` and
`recv` (JSON on a WebSocket), `audio_s` (a voice, and `silence_s` after it, in pieces), `data` (an SSE event), `line`
(JSON lines), `json` (a document), `close` (its code). A frame has to hold all that the golden one holds; "?str" and the
like stand for any value of a type, "..." for more of a list, `repeat` for one or more such frames, `any` for none too.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from tests.fakes.client import dial
from tests.fakes.server import Fakes, serve_fakes
from tests.fakes.sound import encoded
from tests.fakes.world import Pace, World, hum

GOLDEN = sorted((Path(__file__).parent / "fakes" / "golden").glob("*.jsonl"))
QUICK = Pace(ttft_s=0.01, gap_s=0.0, hear_s=0.005, ttfb_s=0.01, audio_gap_s=0.004)
TYPES: dict[str, Any] = {"?str": str, "?int": int, "?num": (int, float), "?b64": str}


def fits(frame: Any, golden: Any) -> bool:
    """Whether a frame holds what the golden one holds."""
    if isinstance(golden, str) and golden in TYPES:
        typed = isinstance(frame, TYPES[golden]) and not isinstance(frame, bool)
        return typed and (golden != "?b64" or len(base64.b64decode(frame, validate=True)) > 0)
    if isinstance(golden, dict):
        return isinstance(frame, dict) and all(key in frame and fits(frame[key], golden[key]) for key in golden)
    if isinstance(golden, list):
        more = golden[-1:] == ["..."]
        wanted = golden[:-1] if more else golden
        enough = isinstance(frame, list) and (len(frame) >= len(wanted) if more else len(frame) == len(wanted))
        return enough and all(map(fits, frame, wanted))
    return type(frame) is type(golden) and frame == golden


def rows_of(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    head, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return head, rows


def matched(frames: list[Any], rows: list[dict[str, Any]], kind: str) -> None:
    """All frames, in the order of the golden rows."""
    left = deque(frames)
    for row in rows:
        golden = row[kind]
        assert left, f"nothing came for {golden}"
        assert fits(left[0], golden), (left[0], golden)
        left.popleft()
        while row.get("repeat") and left and fits(left[0], golden):
            left.popleft()
    assert not left, left[0]


def parsed(kind: str, body: str) -> list[Any]:
    """The frames of an HTTP body."""
    if kind == "json":
        return [json.loads(body)]
    if kind == "line":
        return [json.loads(line) for line in body.splitlines()]
    texts = [event.removeprefix("data: ") for event in body.split("\n\n") if event]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


async def over_http(fakes: Fakes, head: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    url = f"http://127.0.0.1:{fakes.vendors[head['vendor']].port}{head.get('post') or head.get('get')}"
    headers = {"x-fake-fault": head["fault"]} if "fault" in head else {}
    async with httpx.AsyncClient(headers=headers) as http:
        if "get" in head:
            answer = await http.get(url)
        elif "form" in head:
            file = ("speech.wav", encoded(1.0, 16_000, "wav"), "audio/wav")
            answer = await http.post(url, data=head["form"], files={"file": file})
        else:
            answer = await http.post(url, json=head["json"])
    assert answer.status_code == 200, answer.text
    kind = next(iter(rows[0].keys() - {"repeat"}))
    matched(parsed(kind, answer.text), rows, kind)


def audio(row: dict[str, Any]) -> Iterator[bytes | str]:
    """Pieces of 50 ms as the client sends them."""
    rate_hz = row.get("rate", 16_000)
    pcm = hum(row["audio_s"], rate_hz) + bytes(2 * int(row.get("silence_s", 0) * rate_hz))
    for start in range(0, len(pcm), rate_hz // 10):
        piece = pcm[start : start + rate_hz // 10]
        yield json.dumps(row["as"]).replace("@", base64.b64encode(piece).decode()) if "as" in row else piece


async def over_websocket(ws: WebSocketConnection, rows: list[dict[str, Any]]) -> None:
    left: deque[Any] = deque()

    async def current() -> Any:
        if not left:
            left.append(json.loads(await ws.get_message()))
        return left[0]

    for row in rows:
        if "send" in row:
            await ws.send_message(json.dumps(row["send"]))
        elif "audio_s" in row:
            for piece in audio(row):
                await ws.send_message(piece)
        elif "close" in row:
            with pytest.raises(ConnectionClosed) as closed:
                raise AssertionError(await current())
            assert closed.value.reason.code == row["close"]
        else:
            if not row.get("any"):
                assert fits(await current(), row["recv"]), (left[0], row["recv"])
                left.popleft()
            while (row.get("repeat") or row.get("any")) and fits(await current(), row["recv"]):
                left.popleft()
    assert not left


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
async def test_a_dialect_sends_the_golden_frames(path: Path) -> None:
    head, rows = rows_of(path)
    assert head["source"]
    assert head["date"]
    world = World(heard=["hello there"], pace=QUICK)
    with trio.fail_after(5):
        async with serve_fakes(world, head["vendor"]) as fakes:
            if "ws" not in head:
                await over_http(fakes, head, rows)
                return
            async with dial(fakes, head["vendor"], head["ws"]) as ws:
                await over_websocket(ws, rows)


def test_every_vendor_with_a_protocol_of_its_own_has_golden_frames() -> None:
    vendors = {rows_of(path)[0]["vendor"] for path in GOLDEN}
    assert vendors >= {"openai", "xai", "elevenlabs", "deepgram", "vllm", "speaches"}


@pytest.mark.parametrize(
    ("frame", "golden", "fit"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"b": 2}, {"a": 1}, False),
        ({"a": None}, {"a": 0}, False),
        ({"a": 0.0}, {"a": 0}, False),
        ([1, 2], [1, "..."], True),
        ([1, 2], [1], False),
        ("AA==", "?b64", True),
        ("", "?b64", False),
        (True, "?int", False),
    ],
)
def test_frames_are_compared_strictly(frame: Any, golden: Any, fit: bool) -> None:
    assert fits(frame, golden) is fit
