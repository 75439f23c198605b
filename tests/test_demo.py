"""`aura demo`: its proofs are proofs, and a server that does not start is explained."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import trio
from rich.console import Console

from aura.config import load
from aura.config_sources import Given
from aura.tools import child
from aura.tools.child import ChildError, ChildSettings, command, own_server, taken_over
from aura.tools.demo import DATE, TIME, DemoSettings, Show, Turn, barge_in, pause_inside, perform
from tests.fake_realtime import FakeServer, fake_server

LISTENING = """import json, time
print("noise", flush=True)
print(json.dumps({"event": "server.listening", "port": 1}), file=__import__("sys").stderr, flush=True)
time.sleep(20)
"""


def instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(child, "command", lambda *_: [sys.executable, "-c", code])


async def test_a_server_that_ends_at_once_is_explained_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, "raise SystemExit('error: port 1 is taken')")
    with pytest.raises(ChildError, match=r"^the server did not start: port 1 is taken \(its log: .*server\.log\)$"):
        async with own_server(load(environment={}), tmp_path):
            pass
    assert b"port 1 is taken" in (tmp_path / "server.log").read_bytes()


async def test_a_server_that_is_never_ready_is_given_up_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, LISTENING)
    with trio.fail_after(8), pytest.raises(ChildError, match="not ready within 1 s"):
        async with own_server(load(environment={}), tmp_path, ChildSettings(start_timeout_s=1.0)):
            pass


def test_the_child_takes_over_settings_but_no_keys_and_no_addresses() -> None:
    given = [
        Given("turns.silence_s", 0.9, "test"),
        Given("openai.api_key", "sk-secret", "test"),
        Given("server.port", 9999, "test"),
        Given("storage.record", False, "test"),
    ]
    texts = taken_over(load(environment={}, flags=given))
    assert "turns.silence_s=0.9" in texts
    arguments = " ".join(command(Path("data"), texts))
    assert "sk-secret" not in arguments
    assert "9999" not in arguments
    assert arguments.count("storage.record") == 1


@pytest.mark.parametrize("words", ["it is 10 past 3", "it's half past two", "four o'clock", "3:05 pm"])
def test_times_are_recognised(words: str) -> None:
    assert TIME.search(words)


def test_dates_are_recognised_and_stories_are_not() -> None:
    assert DATE.search("today is sunday, november 22")
    assert not DATE.search("once upon a time there was a fox")
    assert not TIME.search("i am not sure what you mean, sorry")


def test_the_table_has_a_column_for_each_stage_that_the_server_names() -> None:
    show = Show.__new__(Show)
    show.turns = [
        Turn("question", 512.3, {"endpoint": 200.0, "voice_to_voice": 500.0}),
        Turn("interruption", stop_ms=180.4),
    ]
    out = io.StringIO()
    Console(file=out, width=120).print(show.table())
    shown = out.getvalue()
    assert all(word in shown for word in ("endpoint", "512", "200", "180"))


@pytest.mark.e2e
async def test_what_does_not_happen_is_not_called_a_success(tmp_path: Path) -> None:
    server = FakeServer()
    server.silence_s, server.reply_s = 0.3, 0.4  # takes the pause for the end, always says "One hundred."
    settings = DemoSettings(answer_timeout_s=1.0, lead_s=0.1, barge_in_after_s=0.2)
    failing = {pause_inside: "", barge_in: ""}
    async with fake_server(server) as url:
        show = await perform(url, tmp_path / "c.wav", False, settings, Console(file=io.StringIO()), failing)
    facts = {check.what: check.ok for check in show.checks}
    assert not facts["the pause is not taken for the end"]
    assert not facts["it is answered once"]
    assert facts["the sum is right"]
    assert not facts["only the words that were heard are kept"]
    assert not facts["the new question is answered"]
    assert (tmp_path / "c.wav").stat().st_size > 100_000
