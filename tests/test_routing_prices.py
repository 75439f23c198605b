"""Prices, dates and books."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core.errors import ConfigError
from aura.core.routing.ledger import Books, Spend
from aura.core.routing.pricing import (
    Amount,
    Price,
    Usage,
    amount,
    cost,
    estimate_tokens,
    estimated,
    load_prices,
    shutdowns,
    stale,
)
from aura.providers.openai.settings import OpenAISettings
from aura.providers.routing_data import prices
from aura.tools.logs import prices as log_prices
from aura.tools.logs.fold_log import note_call
from aura.tools.logs.model import CallRow
from aura.tools.logs.prices import Cost

TABLE = prices()


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "GPT-4o-mini-20240718", "gpt-4o-mini"),
        ("openai", "openai/gpt-6-luna", "gpt-6-luna"),
        ("openai", "gpt-6-luna-latest", "gpt-6-luna"),
        ("openai", "gpt-6.1-terra", "gpt-6.1-terra"),
        ("xai", "grok-4.20-0309-non-reasoning", "grok-4.20-non-reasoning"),
        ("xai", "grok-4-1-fast-reasoning", "grok-4-1-fast*"),
        ("xai", "grok-4-fast", "grok-4-fast*"),
        ("elevenlabs", "scribe_v2_realtime", "scribe_*"),
        ("deepgram", "flux-general-multi", "flux-general-*"),
        ("offline", "anything", "*"),
        ("openai", "gpt-4o-unheard-of", None),
        ("compatible", "llama3.2", None),
        ("openai", "", None),
    ],
)
def test_models_are_found_under_dated_and_open_names(provider, model, found):
    row = TABLE.find(provider, model)
    assert (row.model if row else None) == found


@pytest.mark.parametrize(
    ("model", "usage", "tier", "usd"),
    [
        ("gpt-6-luna", Usage(1_000_000), "", 2 * 0.10),
        ("gpt-6-luna", Usage(272_000, output_tokens=1000), "", 0.0272 + 0.0005),
        ("gpt-6-luna", Usage(272_001, output_tokens=1000), "", 2 * 0.0272001 + 1.5 * 0.0005),
        ("gpt-6-luna", Usage(10_000, cached_tokens=9000, output_tokens=100), "", 1000e-7 + 9000e-8 + 100 * 5e-7),
        ("gpt-6-luna", Usage(10_000, cached_tokens=4000, cache_write_tokens=6000), "", 4000e-8 + 6000 * 1.25e-7),
        ("gpt-6-luna", Usage(10_000, cached_tokens=99_000), "", 10_000e-8),
        ("gpt-6-luna", Usage(10_000, output_tokens=100), "priority", 2 * (0.001 + 0.00005)),
        ("gpt-6-luna", Usage(10_000, output_tokens=100), "flex", 0.5 * (0.001 + 0.00005)),
        ("whisper-1", Usage(audio_s=90), "", 0.009),
        ("tts-1", Usage(chars=2000, audio_s=120), "", 0.03),
        ("gpt-4o-mini-tts", Usage(chars=2000, audio_s=120), "", 0.03),
        ("gpt-4o-mini-tts", Usage(input_tokens=500, output_tokens=1000, chars=2000), "", 0.0003 + 0.012),
        ("gpt-realtime-2.1-mini", Usage(100, output_tokens=1100, audio_output_tokens=1000), "", 60e-6 + 240e-6 + 20e-3),
        ("gpt-realtime-2.1", Usage(300, audio_input_tokens=200), "", 400e-6 + 6.4e-3),
        ("whisper-1", Usage(), "", 0.0),
        ("whisper-1", Usage(chars=5), "", None),
        ("gpt-6.2-sol", Usage(100), "", None),
        ("gpt-5.1", Usage(100), "", None),
    ],
)
def test_what_a_call_costs(model, usage, tier, usd):
    assert cost(TABLE.find("openai", model), usage, tier) == (None if usd is None else pytest.approx(usd))


def test_without_a_price_the_cost_is_unknown_and_the_providers_own_figure_comes_first():
    assert amount(None, Usage(100)) == Amount(None)
    assert amount(TABLE.find("openai", "gpt-6-luna"), Usage(100), 0.5) == Amount(0.5, exact=True)


def test_the_table_is_complete_dated_and_holds_what_the_settings_ask_by_default():
    assert len(TABLE.rows) >= 60
    for row in TABLE.rows:
        assert row.checked_on
        assert row.source
        assert row.part in ("stt", "chat", "tts")
    defaults = OpenAISettings()
    for part, model in (("chat", defaults.chat_model), ("stt", defaults.stt_model), ("tts", defaults.tts_model)):
        row = TABLE.default("openai", part)
        assert row
        assert row.model == model


def test_models_that_end_are_named_in_time_with_their_successors():
    soon = shutdowns(TABLE, "2026-12-01", 40)
    assert [(end.model, end.days_left) for end in soon if end.days_left >= 0] == [
        ("gpt-5", 10), ("gpt-5-mini", 10), ("gpt-5-nano", 10), ("o3", 10),
        ("gpt-4o-mini-tts", 36), ("tts-1", 36), ("tts-1-hd", 36),
    ]  # fmt: skip
    used = shutdowns(TABLE, "2027-01-20", 60, [("openai", "gpt-4o-2024-08-06"), ("openai", "gpt-6-luna"), ("x", "y")])
    assert [(end.model, end.days_left, end.successor) for end in used] == [("gpt-4o-2024-08-06", -6, "gpt-6-luna")]


def test_old_prices_are_noticed():
    assert stale(TABLE, "2027-02-20", 90) == ()
    assert len(stale(TABLE, "2027-02-21", 90)) == len(TABLE.rows)


def test_a_second_file_adds_and_replaces_rows():
    own = (
        '[[price]]\nprovider = "openai"\nmodel = "tts-1"\npart = "tts"\nper_1m_chars = 9\n'
        '[[price]]\nprovider = "me"\nmodel = "llama*"\ninput = 0.1\noutput = 0.2\n'
    )
    table = prices(own)
    assert cost(table.find("openai", "tts-1"), Usage(chars=1_000_000)) == 9
    assert cost(table.find("me", "llama3.2:3b"), Usage(1_000_000)) == pytest.approx(0.1)
    assert len(table.rows) == len(TABLE.rows) + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[price", "the prices that were given: "),
        ('[[price]]\nprovider = "a"\nmodel = "b"\npric = 1', r"price 1 \(a/b\): .*pric"),
        ('[[price]]\nprovider = "a"\nmodel = "b"\ninput = -1', "no price is below 0"),
        ('[[price]]\nprovider = "a"\nmodel = "b"\nshutdown_on = "soon"', "soon"),
        ('[[price]]\nprovider = "a"', "model"),
        ("price = 3", "Expected `array`, got `int`"),
        ("prices = 3", "unknown field `prices`"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(text, message):
    with pytest.raises(ConfigError, match=message):
        load_prices("", text)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("hello how are you today", 5, 7),
        ("今天天气很好", 5, 7),
        ("Привет, как дела?", 5, 8),
        ("a" * 400, 100, 101),
    ],
)
def test_tokens_are_estimated_for_streams_that_were_cut(text, least, most):
    assert least <= estimate_tokens(text) <= most
    usage = estimated([text, text], text)
    assert usage.estimated
    assert usage.input_tokens >= 2 * least
    assert usage.output_tokens == estimate_tokens(text)


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**5),
    st.sampled_from(["gpt-6-luna", "gpt-4o", "gpt-5.5"]),
)
def test_caching_never_makes_a_prompt_dearer_nor_anything_negative(tokens, cached, out, model):
    row = TABLE.find("openai", model)
    with_cache, without = cost(row, Usage(tokens, cached, out)), cost(row, Usage(tokens, 0, out))
    assert with_cache is not None
    assert without is not None
    assert 0 <= with_cache <= without + 1e-12


# ---- books -------------------------------------------------------------------------------------------------------


def test_books_add_up_by_turn_conversation_and_tenant():
    books = Books()
    for tenant, conversation, turn, one in (
        ("acme", "a", 1, Amount(0.25, exact=True)),
        ("acme", "a", 1, Amount(0.5)),
        ("acme", "b", 1, Amount(None)),
        ("other", "c", 1, Amount(1.0)),
    ):
        books.add(one, tenant=tenant, conversation=conversation, turn=turn)
    assert books.turn("a", 1) == Spend(0.25, 0.5, 2)
    assert books.turn("a", 2) == Spend()
    assert books.conversation("b") == Spend(0.0, 0.0, 1, 1)
    assert books.tenant("acme").usd == 0.75
    assert books.total.usd == 1.75
    limits = {"tenant": "acme", "conversation": "a"}
    assert books.left(**limits) is None
    assert books.left(**limits, tenant_limit_usd=1.0) == 0.25
    assert books.left(**limits, tenant_limit_usd=9.0, conversation_limit_usd=0.5) == -0.25
    assert books.close("a").usd == 0.75
    assert books.conversation("a") == Spend()
    assert books.tenant("acme").usd == 0.75


def test_tenants_begin_anew_with_a_period():
    books = Books()
    books.period("2026-11")
    books.restore("acme", Spend(2.0, 1.0, 5))
    books.period("2026-11")
    assert books.tenants() == {"acme": Spend(2.0, 1.0, 5)}
    books.period("2026-12")
    assert books.tenant("acme") == Spend()


# ---- the prices of `aura logs` -----------------------------------------------------------------------------------


def row(part: str, provider: str, **used: Any) -> CallRow:
    return CallRow(0.0, part, provider, "ok", 1.0, **used)


def test_logs_are_priced_by_the_built_in_table_under_the_model_told_or_the_default_one():
    known = log_prices.builtin()
    assert known.currency == "USD"
    assert known.cost([row("chat", "openai", input_tokens=1000, output_tokens=100)]) == Cost(0.00015)
    assert known.cost([row("chat", "openai", model="gpt-5.5", input_tokens=1000, output_tokens=100)]) == Cost(0.008)
    assert known.cost([row("tts", "offline", chars=100), row("tool", "x")]) == Cost(0.0)
    assert known.cost(
        [row("chat", "compatible", model="llama", input_tokens=5), row("chat", "openai", model="gpt-6.2-sol", chars=5)]
    ) == (Cost(0.0, ("compatible chat", "openai chat")))
    assert known.cost([row("chat", "compatible")]) == Cost(0.0)
    assert "2026-11-22" in known.note


def test_what_the_log_says_that_a_call_cost_is_better_than_the_table_but_not_than_the_users_prices(tmp_path):
    told = row("chat", "openai", model="gpt-6.2-sol", input_tokens=1_000_000, cost_usd=0.5)
    assert log_prices.builtin().cost([told, told]) == Cost(1.0)
    path = tmp_path / "p.toml"
    path.write_text("[openai.chat]\ninput_tokens_per_million = 7\n")
    assert log_prices.load(path).cost([told]) == Cost(7.0)


def test_calls_of_one_model_are_added_up_and_no_others():
    calls: list[CallRow] = []
    for model, usd in (("a", 0.25), ("a", 0.5), ("b", 0.25), ("a", None)):
        note_call(calls, row("chat", "openai", model=model, cost_usd=usd, input_tokens=10), alone=False)
    assert [(call.model, call.cost_usd, call.count, call.input_tokens) for call in calls] == [
        ("a", 0.75, 2, 20),
        ("b", 0.25, 1, 10),
        ("a", None, 1, 10),
    ]


def test_a_sum_over_many_calls_is_no_long_prompt():
    one = row("chat", "openai", input_tokens=1_000_000)
    many = row("chat", "openai", input_tokens=1_000_000, count=100)
    known = log_prices.builtin()
    assert (known.cost([one]).amount, known.cost([many]).amount) == (0.2, 0.1)


def test_a_users_prices_come_first_and_never_mix_with_another_currency(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text('[openai.chat]\ninput_tokens_per_million = 7\n["openai/gpt-5.5"]\ninput_tokens_per_million = 9\n')
    known = log_prices.load(path)
    calls = [row("chat", "openai", model=name, input_tokens=1_000_000) for name in ("", "gpt-5.5", "gpt-4o")]
    assert [known.cost([call]).amount for call in calls] == [7.0, 9.0, 7.0]
    assert known.cost([row("stt", "openai", audio_s=60)]) == Cost(0.0045)
    path.write_text('currency = "EUR"\n' + path.read_text())
    assert log_prices.load(path).cost([row("stt", "openai", audio_s=60)]) == Cost(0.0, ("openai stt",))


def test_a_price_row_knows_its_key():
    assert Price(provider="a", model="b").key == "a/b"
