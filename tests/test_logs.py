"""Log lines: their shape, and what must never be in them."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from aura.observe import logs

KEY = 'sk-very-"secret'


@pytest.fixture
def written(monkeypatch):
    """Configures logging into memory and gives a function that returns the lines; undone afterwards."""
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()

    def start(form="json", level="info", *, recording=False, secrets=(KEY,)):
        settings = logs.LogSettings(format=form, level=level)
        logs.configure(settings, secrets=secrets, recording=recording, stream=out)
        return lambda: out.getvalue().splitlines()

    yield start
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_json_with_time_level_event_and_bound_ids(written):
    lines = written()
    with structlog.contextvars.bound_contextvars(session="s1", turn=3):
        structlog.get_logger().info("turn.ended", silence_s=0.6)
    record = json.loads(lines()[0])
    assert list(record)[:3] == ["time", "level", "event"]
    assert record["time"].endswith("Z")
    del record["time"]
    assert record == {"level": "info", "event": "turn.ended", "session": "s1", "turn": 3, "silence_s": 0.6}


def test_lines_below_the_level_are_not_written(written):
    lines = written(level="warning")
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [json.loads(line)["event"] for line in lines()] == ["loud"]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize("of_recorded_conversation", [False, True])
def test_words_are_only_written_of_conversations_that_are_recorded(written, form, recording, of_recorded_conversation):
    lines = written(form, recording=recording)
    with structlog.contextvars.bound_contextvars(recorded=of_recorded_conversation):
        structlog.get_logger().info("heard", text="secretly", note_private="quietly", words=3)
    both = recording and of_recorded_conversation
    assert (("secretly" in lines()[0]), ("quietly" in lines()[0])) == (both, both)
    assert "recorded" not in lines()[0]
    assert "words" in lines()[0]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "fields",
    [
        {"detail": KEY},
        {"detail": f"Incorrect API key: {KEY}!"},
        {"headers": {"Authorization": "Bearer abc"}},
        {"openai_api_key": "abc"},
        {"auth_token": "abc"},
        {"deep": [{"a": (KEY,)}]},
    ],
)
def test_keys_are_never_written(written, form, fields):
    lines = written(form, recording=True)
    structlog.get_logger().info("called", **fields)
    assert KEY not in lines()[0]
    assert json.dumps(KEY)[1:-1] not in lines()[0]
    assert "abc" not in lines()[0]
    assert "***" in lines()[0]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("key", ["aura_" + "Az09_-" * 6 + "Az09", "ek_" + "09af" * 8])
def test_keys_of_our_own_are_hidden_wherever_they_stand(written, form, key):
    lines = written(form=form)
    structlog.get_logger().info("refused", url=f"/v1/realtime?key={key}&model=aura", place="week_0")
    assert (key in lines()[0], "key=***&model=aura" in lines()[0], "week_0" in lines()[0]) == (False, True, True)


def test_counts_of_tokens_are_no_secrets(written):
    lines = written()
    structlog.get_logger().info("answered", output_tokens=12)
    assert json.loads(lines()[0])["output_tokens"] == 12


def test_a_short_secret_does_not_eat_other_words(written):
    lines = written(secrets=("in",))
    structlog.get_logger().info("inside", value="in")
    record = json.loads(lines()[0])
    assert (record["event"], record["value"]) == ("inside", "***")


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_written_without_local_variables(written, form):
    lines = written(form)
    try:
        whispered = "my words"
        raise ValueError(f"broken {KEY}, {len(whispered)}")
    except ValueError:
        structlog.get_logger().exception("stage.failed")
    text = "\n".join(lines())
    assert "ValueError: broken ***" in text
    assert "my words" not in text


@pytest.mark.parametrize("value", [object(), {1: 2}, "\ud800", b"\xff", float("nan"), {("a",): 1}])
def test_odd_values_never_break_a_line(written, value):
    lines = written()
    structlog.get_logger().info("odd", value=value)
    assert json.loads(lines()[0])["event"] in ("odd", "'odd'")


def test_a_circle_does_not_break_a_line(written):
    lines = written()
    circle = []
    circle.append(circle)
    structlog.get_logger().info("odd", value=circle)
    assert len(lines()) == 1


def test_libraries_are_heard_from_warning_on(written):
    lines = written()
    logging.getLogger("httpx").info("request to %s", "somewhere")
    logging.getLogger("trio-websocket").warning("odd frame %d", 7)
    (record,) = map(json.loads, lines())
    del record["time"]
    assert record == {"level": "warning", "event": "library", "logger": "trio-websocket", "message": "odd frame 7"}


def test_a_closed_stderr_is_survived(written):
    out = io.StringIO()
    logs.configure(logs.LogSettings(format="json"), stream=out)
    out.close()
    structlog.get_logger().info("nobody hears this")


def test_reconfiguring_reaches_loggers_that_exist(written):
    log = structlog.get_logger()
    lines = written()
    log.info("one")
    written(level="error")
    log.info("two")
    assert len(lines()) == 1
