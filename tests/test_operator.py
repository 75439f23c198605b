"""Who may see recordings: the key, the cookie made from it, and what happens after wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from aura.core.errors import ConfigError
from aura.core.secret import Secret
from aura.server.bridge import AsgiApp
from aura.server.lockout import FAILURES_MAX, FAILURES_S, Lockout
from aura.server.operator import COOKIE_S, KEY_FILE, Lock, link, operator_key
from tests.recorded_call import NAME, write
from tests.test_http import Answer, client, read_answer
from tests.test_http import ask as ask_http
from tests.test_sessions_api import KEY, ONE, app_on, get


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one recording."""
    data_dir = tmp_path_factory.mktemp("data")
    write(data_dir)
    return data_dir


# ---- who may ask


async def test_nothing_is_told_without_the_key(made: Path) -> None:
    app = app_on(made)
    for path in ("/sessions/api/recordings", ONE, f"{ONE}/audio/both", f"{ONE}/peaks/user/0", "/sessions/api/compare"):
        assert (await ask_http("GET", path, app)).status == 401
        wrong = await ask_http("GET", path, app, Authorization="Bearer wrong", Cookie="aura_operator=1.2")
        assert wrong.status == 401
    answer = await ask_http("GET", "/sessions/", app)
    assert (answer.status, NAME.encode() in answer.body) == (200, False)


async def login(app: AsgiApp, key: str, **headers: str) -> Answer:
    """Post the key as the page does."""
    body = msgspec.json.encode({"key": key})
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST /sessions/api/login HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    async with client(app) as stream:
        await stream.send_all(head.encode() + body)
        return await read_answer(stream, "POST")


async def test_the_key_gives_a_cookie_that_does_not_hold_it(made: Path) -> None:
    app = app_on(made)
    answer = await login(app, KEY)
    assert answer.status == 204
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/sessions", f"Max-Age={COOKIE_S}"))
    assert KEY not in cookie
    value = cookie.partition(";")[0]
    assert (await ask_http("GET", ONE, app, Cookie=value)).status == 200
    assert (await ask_http("GET", ONE, app, Cookie=value[:-1] + "01"[value[-1] == "0"])).status == 401
    assert (await ask_http("GET", ONE, app_on(made, "another key of the operator"), Cookie=value)).status == 401
    assert (await login(app, KEY, Sec_Fetch_Site="cross-site")).status == 403


async def test_many_wrong_keys_lock_an_address_out_but_not_who_is_in(made: Path) -> None:
    app = app_on(made)
    cookie = (await login(app, KEY)).headers["set-cookie"].partition(";")[0]
    statuses = [(await login(app, f"wrong {n}")).status for n in range(FAILURES_MAX + 1)]
    assert statuses == [*[401] * FAILURES_MAX, 429]
    refused = await login(app, KEY)
    assert (refused.status, 0 < int(refused.headers["retry-after"]) <= FAILURES_S + 1) == (429, True)
    assert (await ask_http("GET", ONE, app, Cookie=cookie)).status == 200


async def test_what_people_said_is_not_kept_by_browsers(made: Path) -> None:
    app = app_on(made)
    for path in ("/sessions/api/recordings", ONE, f"{ONE}/audio/both?from=0&to=1"):
        assert (await get(app, path)).headers["cache-control"] == "no-store"


async def test_without_a_key_the_page_is_off(made: Path) -> None:
    app = app_on(made, "")
    for path in ("/sessions", "/sessions/", "/sessions/sessions.js", "/sessions/api/recordings"):
        answer = await ask_http("GET", path, app)
        assert (answer.status, b"--record" in answer.body) == (404, True)
    assert b"<title>" in (await ask_http("GET", "/sessions/", app, Accept="text/html")).body


def test_lockouts_end_and_are_counted_by_network() -> None:
    lockout = Lockout()
    for _ in range(FAILURES_MAX):
        lockout.failed("2001:db8::1", 0.0)
    assert lockout.wait_s("2001:db8::ffff", 1.0) == FAILURES_S - 1
    assert lockout.wait_s("2001:db8:0:1::1", 1.0) == lockout.wait_s("2001:db8::1", FAILURES_S) == 0


def test_cookies_end_and_cannot_be_made_up() -> None:
    lock = Lock(KEY)
    cookie = lock.cookie(now=1000)
    assert lock.admits(cookie, now=1000 + COOKIE_S - 1)
    assert not lock.admits(cookie, now=1000 + COOKIE_S)
    end, _, seal = cookie.partition(".")
    for wrong in ("", ".", end, f"{int(end) + 1}.{seal}", f"{end}.", f"{end}.é", f"²³.{seal}", f"{'9' * 5000}.{seal}"):
        assert not lock.admits(wrong, now=1000)
    assert (lock.opens(KEY), lock.opens(KEY[:-1]), lock.opens(""), lock.opens("\udcff")) == (True, False, False, False)


@pytest.mark.parametrize(
    ("configured", "host", "recording", "on"),
    [
        ("a long enough secret", "0.0.0.0", False, True),
        ("", "127.0.0.1", True, True),
        ("", "localhost", True, True),
        ("", "127.0.0.1", False, False),
        ("", "0.0.0.0", True, False),
    ],
)
def test_where_the_page_is_on(tmp_path: Path, configured: str, host: str, recording: bool, on: bool) -> None:
    key = operator_key(Secret(configured), host, tmp_path, recording=recording)
    assert bool(key) == on
    assert (tmp_path / KEY_FILE).exists() == (on and not configured)
    if on and not configured:
        assert len(key) >= 24
        assert (tmp_path / KEY_FILE).stat().st_mode & 0o077 == 0
        assert operator_key(Secret(), host, tmp_path, recording=recording) == key


def test_a_short_key_is_refused_and_a_linked_file_not_followed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server.operator_key: needs at least 16 characters, this one has 5"):
        operator_key(Secret("short"), "0.0.0.0", tmp_path, recording=False)
    (tmp_path / "elsewhere").write_text("a key that somebody else chose")
    (tmp_path / KEY_FILE).symlink_to(tmp_path / "elsewhere")
    assert operator_key(Secret(), "127.0.0.1", tmp_path, recording=True) == ""


def test_a_link_opens_the_page_and_no_server_sees_its_key() -> None:
    assert link("http", "0.0.0.0", 8080, "a b&c/1") == "http://127.0.0.1:8080/sessions/#key=a%20b%26c%2F1"
    assert link("https", "::1", 8443, "k") == "https://[::1]:8443/sessions/#key=k"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """No log lines of wrong keys among the dots."""
    import structlog

    with structlog.testing.capture_logs():
        yield
