"""The views of `aura logs`: what they say, how it adds up, and that it can be read."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aura.core.timing import PARTS, TurnTimes
from aura.tools.logs import cells, prices, select, sheet, tables, views, waterfall
from aura.tools.logs.exact import TOTAL
from aura.tools.logs.facts import facts as facts_table
from aura.tools.logs.model import CallRow, ConversationRow, ErrorRow, FactRow, Moved, OverlapRow, TurnRow
from aura.tools.logs.output import Output, flat
from aura.tools.logs.prices import Cost, Price, Prices
from aura.tools.logs.problems import LogsError
from aura.tools.logs.views import Look
from aura.tools.logs.when import asked

NOW = datetime(2026, 3, 1, 15, tzinfo=UTC)


def turn(at_s: float, *ms: float, number: int = 1, **more: Any) -> TurnRow:
    account = dict(zip(PARTS, ms, strict=True))
    return TurnRow(at_s, TurnTimes(number, number, False, {**account, TOTAL: round(sum(ms), 3)}), **more)


def conversation(session: str = "sess_aaaa1111bbbb2222", minute: int = 0, **more: Any) -> ConversationRow:
    known: dict[str, Any] = {
        "started": f"2026-03-01T12:{minute:02}:00+00:00",
        "ended_s": 24.6,
        "outcome": "closed 1000",
        "fact_count": 60,
        "turns": [turn(2.0, 140.0, 90.5, 260.0, 8.2, 101.4, 6.1, outcome="completed", said="what time is it"),
                  turn(9.0, 140.0, 391.2, 1.7, 271.3, 3.6, 0.9, number=2, outcome="cancelled", heard_ms=2125)],
        "moves": [Moved(1.0, "listening", "SpeechStarted"), Moved(12.0, "interrupted", "SpeechStarted")],
        "overlaps": [OverlapRow(12.6, True, "sustained", 600, 0, 680, 600),
                     OverlapRow(15.0, False, "echo", 400, 220, 420, 1200, "echo", 0.8)],
        "errors": [ErrorRow(5.0, "openai", "timed_out", "think", "no answer in 8 s")],
        "calls": [CallRow(2.1, "chat", "openai", "ok", 420.0, 260.0, 1, 1, 1200, 300, 1000),
                  CallRow(2.5, "tts", "openai", "ok", 90.0, 40.0, 1, 1, chars=250, audio_s=7.5),
                  CallRow(5.0, "stt", "offline", "ok", 30.0, audio_s=3.0)],
        "event_counts": {"SpeechStarted": 2, "StageFailed": 1},
    }  # fmt: skip
    return ConversationRow(session, **{**known, **more})


ROWS = [
    conversation(),
    conversation("sess_cccc3333dddd4444", 30, tenant="acme", errors=[], overlaps=[], outcome="running"),
]
PRICES = Prices("USD", {("openai", "chat"): Price(0.15, 0.075, 0.6), ("openai", "tts"): Price(chars_per_million=15.0)})
LOOKS = {"plain": Look(ROWS), "priced": Look(ROWS, prices=PRICES), "slowest": Look(ROWS, slowest=1), "empty": Look([])}


def shown(name: str, look: Look, width: int = 100, **console: Any) -> str:
    """A view as text."""
    screen = Console(width=width, file=io.StringIO(), **{"highlight": False, **console})
    make = tables.TABLES.get(name, facts_table)
    Output(console=screen).show(make(look, sheet.Page(screen, 50)))
    return screen.file.getvalue()  # type: ignore[attr-defined, no-any-return]


# ---- figures -----------------------------------------------------------------------------------------------------


def test_a_conversation_in_short():
    line = views.conversations(Look(ROWS, prices=PRICES))[0]

    assert (line.turns, line.interruptions, line.overlaps, line.errors) == (2, 1, 2, 1)
    assert (line.v2v_p50_ms, line.v2v_p95_ms) == (808.7, 808.7)
    assert (line.input_tokens, line.output_tokens, line.chars, line.audio_s) == (1200, 300, 250, 10.5)
    # 200 fresh, 1000 cached and 300 made tokens, 250 characters; what runs on this machine is free
    assert line.cost == pytest.approx((200 * 0.15 + 1000 * 0.075 + 300 * 0.6 + 250 * 15) / 1e6)
    assert line.cost_unknown == []


def test_the_slowest_turns_come_first_and_their_parts_sum_to_the_whole():
    lines = views.turns(Look(ROWS, slowest=3))
    assert [line.voice_to_voice_ms for line in lines] == [808.7, 808.7, 606.2]
    for line in lines:
        assert sum(round(ms * 1000) for ms in line.parts_ms.values()) == round(line.voice_to_voice_ms * 1000)


def test_errors_are_grouped_by_provider_class_and_place():
    later = conversation(
        "sess_2", 40, errors=[ErrorRow(1.0, "openai", "timed_out", "think"), ErrorRow(2.0, "aura", "bug")]
    )
    own = [ErrorRow(None, "aura", "journal.disk_refuses", "journal.disk_refuses", "full", "2026-03-01T13:00:00Z")]
    lines = views.errors(Look([*ROWS, later], own))

    assert [(line.provider, line.code, line.count, line.conversations) for line in lines] == [
        ("openai", "timed_out", 2, 2), ("aura", "bug", 1, 1), ("aura", "journal.disk_refuses", 1, 0),
    ]  # fmt: skip
    assert lines[0].last == "2026-03-01T12:40:01+00:00"
    assert (lines[0].session, lines[0].text) == ("sess_2", "no answer in 8 s")


def test_usage_is_told_per_conversation_provider_and_part():
    lines = views.usage(Look(ROWS[:1]))
    assert [(line.provider, line.part, line.calls) for line in lines] == [
        ("offline", "stt", 1), ("openai", "chat", 1), ("openai", "tts", 1),
    ]  # fmt: skip
    assert lines[1].ttfb_p50_ms == 260.0
    assert lines[1].cost is None


@pytest.mark.parametrize("name", views.VIEWS)
@pytest.mark.parametrize("look", LOOKS)
def test_every_view_can_be_written_as_json_and_csv(name, look):
    lines = views.VIEWS[name](LOOKS[look])
    for line in lines:
        assert isinstance(line, views.LINES[name])
        again = msgspec.json.decode(msgspec.json.encode(line), type=views.LINES[name])
        assert again == line
        assert all(isinstance(value, str | int | float | None) for value in flat(line).values())


def test_a_csv_cell_is_no_formula():
    line = views.turns(Look([conversation(turns=[turn(1.0, 1, 1, 1, 1, 1, 1, said="=1+1")])]))[0]
    assert flat(line)["said"] == "'=1+1"
    assert flat(line)["endpoint_ms"] == 1


# ---- tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("name", tables.TABLES)
@pytest.mark.parametrize("look", LOOKS)
def test_tables_fit_and_cut_nothing_that_matters(name, look, width):
    text = shown(name, LOOKS[look], width)

    assert max(map(len, text.splitlines())) <= width
    if look != "empty":
        assert "…" not in text.replace("  …\n", "\n")
        for session in ("aaaa1111", "cccc3333")[: 1 if look == "slowest" or name in ("errors", "interruptions") else 2]:
            assert session in text
        for heading in ("time", "session"):
            assert heading in text


def test_the_default_view_sums_up():
    text = shown("conversations", LOOKS["priced"])
    assert re.search(r"12:00:00 +aaaa1111 +24.6 s +2 +1/2 +1 +809 +809 +0\.004035 +closed 1000", text)
    assert "2 conversations  49.2 s long, 4 turns answered" in text
    assert re.search(r"voice to voice +p50 809  p95 809", text)
    assert "2 times: 1 interruption, 1 not meant" in text
    assert "openai timed_out 1" in text
    assert re.search(r"cost +0\.008070 USD", text)


def test_what_has_no_price_is_said_to_be_unknown():
    text = shown("conversations", Look(ROWS[:1], prices=Prices("EUR", {("openai", "chat"): Price(1.0, None, 1.0)})))
    assert "≥ 0.001500 EUR  (no price for what was used of: openai tts)" in text


def test_an_interruption_is_told_with_its_numbers_and_its_reason():
    text = shown("interruptions", LOOKS["plain"])
    assert re.search(r"stopped +█+ +600 +600 +· +680 +· +it went on for 600 ms", text)
    assert re.search(r"went on +█+·* +400 +1200 +220 +420 +echo +80 % +80 % of it were the", text)
    assert "1 stopped the answer, 1 did not." in text


def test_facts_are_shown_with_state_and_effects():
    rows = [
        FactRow(
            1, 1.5, "SpeechStarted", "idle", "listening", "move", {"at_ms": 1400}, [{"type": "OpenTurn", "turn": 1}]
        ),
        FactRow(
            2, 1.75, "TranscriptReady", "listening", "listening", "late", {"reply": 1, "text": "[red]hi\x1b[2J[/red]"}
        ),
    ]
    text = shown("facts", Look([conversation(facts=rows)]))
    assert re.search(r"1\.500 +│ listening +SpeechStarted +at_ms 1400 +\n +→ OpenTurn turn 1", text)
    assert re.search(r"1\.750 +\+250 │ +TranscriptReady late reply 1  text “?\[red\]hi·\[2J\[/red\]", text)


def test_many_lines_are_cut_to_the_latest_and_say_so():
    text = shown("conversations", Look([conversation(f"sess_{n:016}", n % 60) for n in range(70)]))
    assert "20 earlier ones are not shown: --limit 0 shows all" in text
    assert "70 conversations" in text


def test_without_calls_the_cost_says_where_calls_stand():
    assert "they stand in logs" in shown("cost", Look([conversation(calls=[])]))


def test_times_of_several_days_have_their_date():
    text = shown("conversations", Look([conversation(), conversation("sess_2", started="2026-03-02T01:02:03+00:00")]))
    assert "03-01 12:00:00" in text
    assert "03-02 01:02:03" in text


# ---- bars --------------------------------------------------------------------------------------------------------


def bars(**options: Any) -> waterfall.Bars:
    return waterfall.Bars(Console(file=io.StringIO(), **options))


@given(st.lists(st.floats(0, 5000), min_size=6, max_size=6), st.integers(8, 72))
def test_a_bar_is_as_long_as_its_parts_together(ms, width):
    longest = max(1.0, sum(ms))
    for style in (bars(), bars(force_terminal=True, color_system="truecolor")):
        bar = style.parts(ms, longest, width)
        assert abs(len(bar) - width * sum(ms) / longest) <= 1
        assert len(bar) <= width + 1


def test_a_bar_shows_its_parts_in_proportion():
    assert bars().parts([100, 200, 0, 0, 100, 400], 800, 16).plain == "··░░░░██────────"
    coloured = bars(force_terminal=True, color_system="truecolor").parts([150, 650, 0, 0, 0, 0], 800, 8)
    assert coloured.plain == "█▌██████"
    styles = [str(span.style) for span in coloured.spans]
    assert styles[:3] == ["bright_black", "bright_black on cyan", "cyan"]


def test_a_terminal_without_unicode_gets_plain_signs():
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    bar = waterfall.Bars(Console(file=file)).parts([100, 200, 0, 0, 100, 400], 800, 16)
    assert bar.plain == "..----##~~~~~~~~".replace("##", "##") or bar.plain.isascii()


# ---- which conversations --------------------------------------------------------------------------------------------

WANTED: list[tuple[dict[str, str], list[str]]] = [
    ({}, ["aaaa", "cccc"]),
    ({"session": "cccc"}, ["cccc"]),
    ({"session": "sess_aaaa1111"}, ["aaaa"]),
    ({"tenant": "acme"}, ["cccc"]),
    ({"since": "2026-03-01T12:10"}, ["cccc"]),
    ({"since": "160m"}, ["cccc"]),
    ({"until": "2026-03-01 12:10"}, ["aaaa"]),
    ({"since": "1d", "until": "1h"}, ["aaaa", "cccc"]),
    ({"state": "interrupted"}, ["aaaa", "cccc"]),
    ({"state": "speaking"}, []),
    ({"event": "stagefailed"}, ["aaaa", "cccc"]),
    ({"event": "Sneezed"}, []),
    ({"provider": "offline"}, ["aaaa", "cccc"]),
    ({"provider": "xai"}, []),
]


@pytest.mark.parametrize(("options", "expected"), WANTED, ids=str)
def test_filters(options, expected):
    kept = select.select(ROWS, select.make_filter(NOW, **options))
    assert [row.session[5:9] for row in kept] == expected


def test_a_window_of_time_cuts_into_a_conversation():
    chosen = select.make_filter(NOW, since="2026-03-01T12:00:05", until="2026-03-01T12:00:13")
    (row,) = select.select(ROWS[:1], chosen)

    assert [turn.at_s for turn in row.turns] == [9.0]
    assert [over.at_s for over in row.overlaps] == [12.6]
    assert [len(items) for items in (row.calls, row.errors, row.moves)] == [1, 1, 1]
    assert row.ended_s == 24.6


def test_a_provider_narrows_calls_and_errors():
    (row,) = select.select(ROWS[:1], select.make_filter(NOW, provider="openai"))
    assert {call.provider for call in row.calls} == {"openai"}
    (row,) = select.select(ROWS[:1], select.make_filter(NOW, provider="offline"))
    assert (len(row.calls), row.errors) == (1, [])


def test_facts_are_narrowed_to_the_state_and_event():
    facts = [FactRow(1, 1.0, "A", "idle", "listening", "move"), FactRow(2, 2.0, "B", "idle", "idle", "stay")]
    row = conversation(facts=facts, event_counts={"A": 1, "B": 1})
    for options, numbers in (({"event": "b"}, [2]), ({"state": "listening"}, [1])):
        (kept,) = select.select([row], select.make_filter(NOW, **options))
        assert [fact.n for fact in kept.facts] == numbers
    assert len(row.facts) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", NOW - timedelta(minutes=10)),
        ("1.5h", NOW - timedelta(minutes=90)),
        ("2d", NOW - timedelta(days=2)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T12:00:00+02:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
    ],
)
def test_how_a_time_is_meant(text, expected):
    assert asked(text, "--since", NOW) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"since": "yesterday"}, "--since: cannot read “yesterday” as a time"),
        ({"until": "9e99d"}, "--until: cannot read"),
        ({"since": "99999999999d"}, "--since: cannot read"),
        ({"state": "sleeping"}, "there is no state “sleeping”; there are idle"),
        ({"since": "1h", "until": "2h"}, "--until lies before --since"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(options, message):
    with pytest.raises(LogsError, match=re.escape(message)):
        select.make_filter(NOW, **options)


def test_a_misspelt_name_is_noticed():
    assert select.hint(ROWS, select.make_filter(NOW, event="StageFail")).endswith("did you mean StageFailed?")
    assert select.hint(ROWS, select.make_filter(NOW, provider="openia")).endswith("did you mean openai?")
    assert select.hint(ROWS, select.make_filter(NOW, since="1m")) == "nothing matches"


# ---- prices ------------------------------------------------------------------------------------------------------


def test_prices_are_those_of_the_part_or_else_of_the_provider(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(
        'currency = "EUR"\n[openai]\naudio_per_minute = 0.006\n[openai.chat]\ninput_tokens_per_million = 2\n'
        "output_tokens_per_million = 8.0\n"
    )
    known = prices.load(path)
    chat = CallRow(0.0, "chat", "openai", "ok", 1.0, input_tokens=500_000, output_tokens=250_000, cached_tokens=100_000)
    stt = CallRow(0.0, "stt", "openai", "ok", 1.0, audio_s=90.0)

    assert known.currency == "EUR"
    assert known.cost([chat]) == Cost(3.0)
    assert known.cost([stt]) == Cost(0.009)
    assert known.cost([chat, stt, CallRow(0.0, "tts", "elevenlabs", "ok", 1.0, chars=9)]) == Cost(
        3.009, ("elevenlabs tts",)
    )
    assert known.cost(
        [CallRow(0.0, "tts", "offline", "ok", 1.0, chars=9), CallRow(0.0, "tool", "x", "ok", 1.0)]
    ) == Cost(0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = [", "prices.toml: "),
        ("openai = 3", "openai must be a table: [openai]"),
        ("currency = 3", "currency must be a text"),
        ("[openai]\ninput_token_per_million = 1", "is no price; did you mean input_tokens_per_million?"),
        ("[openai.chat]\nchars_per_million = -1", "[openai.chat]: chars_per_million must be a number of at least 0"),
        ("[openai]\nchars_per_million = true", "must be a number"),
        ("[openai.video]\nx = 1", "there is no part “video”"),
        (None, "cannot be read (No such file"),
    ],
)
def test_bad_prices_end_in_one_line_that_says_what_to_do(tmp_path, text, message):
    path = tmp_path / "prices.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LogsError, match=re.escape(message)) as raised:
        prices.load(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("value", "text"), [(4.24, "4.2 s"), (59.99, "60.0 s"), (185, "3:05"), (3723, "1:02:03")])
def test_lengths_of_time(value, text):
    assert str(cells.seconds(value)) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "·"), (940, "940"), (12_400, "12.4k"), (123_456, "123k"), (3.14e6, "3.1M")]
)
def test_quantities(value, text):
    assert str(cells.amount(value)) == text
