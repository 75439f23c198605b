"""API keys on disk, from several processes at once, and as a running server learns of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from aura.storage import keyring, keys
from aura.storage.keyring import KeyRing
from aura.storage.keys import Key, KeysError, age_s, create_key, digest, note_use, read_keys, revoke_key

ROOT = Path(__file__).resolve().parents[1]


def test_a_key_is_kept_only_as_a_digest_in_a_file_of_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    key, text = create_key(folder, name="web", tenant="acme", models=("aura",), conversations_max=3, expires_s=60)
    assert (text[:5], len(text)) == ("aura_", 45)
    assert read_keys(folder) == (key,)
    assert key.sha256 == digest(text)
    assert key.expires == key.created + 60
    assert text[5:] not in (folder / "keys.json").read_text()
    assert {path.name: path.stat().st_mode & 0o077 for path in folder.iterdir()} == {"keys.json": 0, "keys.lock": 0}
    assert create_key(folder)[1] != text


@pytest.mark.parametrize(
    ("key", "state"),
    [
        (Key("a", "b"), "active"),
        (Key("a", "b", expires=101), "active"),
        (Key("a", "b", expires=100), "expired"),
        (Key("a", "b", revoked=99), "revoked"),
        (Key("a", "b", revoked=99, expires=1), "revoked"),
    ],
)
def test_keys_end_by_themselves_or_are_ended(key: Key, state: str) -> None:
    assert key.state(100.0) == state


def test_revoking_takes_an_id_or_a_beginning_that_one_key_has(tmp_path: Path) -> None:
    first, second = create_key(tmp_path)[0], create_key(tmp_path)[0]
    assert revoke_key(tmp_path, first.id[:10]).revoked >= first.created
    assert [bool(key.revoked) for key in read_keys(tmp_path)] == [True, False]
    again = revoke_key(tmp_path, first.id)
    assert again == read_keys(tmp_path)[0]
    for unknown in ("key_", "", second.id[:7], "key_zzzzzzzz"):
        with pytest.raises(KeysError, match="there is no key"):
            revoke_key(tmp_path, unknown)
    assert read_keys(tmp_path)[1] == second


def test_use_is_noted_to_the_minute_and_never_goes_back(tmp_path: Path) -> None:
    key, _ = create_key(tmp_path)
    note_use(tmp_path, {key.id: 12_345_678, "key_gone": 1})
    note_use(tmp_path, {key.id: 60})
    assert [known.last_used for known in read_keys(tmp_path)] == [12_345_660]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("12h", 43_200), ("30d", 2_592_000), (" 2 w ", 1_209_600), ("1y", 31_536_000)]
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    assert age_s(text) == seconds


@given(st.text(max_size=12))
def test_any_other_length_of_time_is_refused_in_words(text: str) -> None:
    try:
        seconds = age_s(text)
    except KeysError as error:
        seconds = 60 * ("30d" in str(error))
    assert seconds >= 60


@pytest.mark.parametrize("damaged", ['{"keys": [{"id": 5}]}', '{"keys": [{"id": "key_1", "sha256": "é"}]}', "", "{"])
def test_a_damaged_file_is_told_and_not_overwritten(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "keys.json").write_text(damaged)
    for act in (lambda: read_keys(tmp_path), lambda: create_key(tmp_path)):
        with pytest.raises(KeysError, match="is damaged"):
            act()
    assert (tmp_path / "keys.json").read_text() == damaged


# ---- several processes

MAKE_MANY = """
import sys
from pathlib import Path
from aura.storage.keys import create_key, revoke_key
for number in range(15):
    key, text = create_key(Path(sys.argv[1]), name=f"{sys.argv[2]} {number}")
    if number % 3 == 0:
        revoke_key(Path(sys.argv[1]), key.id)
"""


def test_several_processes_lose_no_key_and_no_revocation(tmp_path: Path) -> None:
    makers = [
        subprocess.Popen([sys.executable, "-c", MAKE_MANY, str(tmp_path), str(maker)], cwd=ROOT) for maker in range(3)
    ]
    seen = 0
    while any(maker.poll() is None for maker in makers):
        seen = max(seen, len(read_keys(tmp_path)))  # a reader never sees half a file
    assert [maker.wait() for maker in makers] == [0, 0, 0]
    assert seen > 0
    made = read_keys(tmp_path)
    assert {key.name for key in made} == {f"{maker} {number}" for maker in range(3) for number in range(15)}
    assert {key.name for key in made if key.revoked} == {
        f"{maker} {number}" for maker in range(3) for number in range(0, 15, 3)
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.json", "keys.lock"]


HOLD_LOCK = """
import sys
from pathlib import Path
from aura.storage.keys import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_lock_that_is_held_is_given_up_in_words_and_ends_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "LOCK_S", 0.1)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tmp_path / "keys.lock")],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(KeysError, match="another process has kept"):
            create_key(tmp_path)
        holder.kill()
    create_key(tmp_path)
    assert len(read_keys(tmp_path)) == 1


# ---- a running server


async def until(ring: KeyRing, ident: str, state: str) -> None:
    """Wait until the ring knows the key as that."""
    with trio.fail_after(5):
        while (key := ring.get(ident)) is None or key.state(time.time()) != state:
            await ring.next_look()


async def test_a_running_server_learns_of_new_and_revoked_keys(tmp_path: Path) -> None:
    ring, looks = KeyRing(tmp_path, 0.02), list[int]()
    await ring.load()
    assert (ring.exist, ring.count) == (False, 0)
    async with trio.open_nursery() as nursery:
        await nursery.start(ring.watch, lambda: looks.append(1))
        key, text = await trio.to_thread.run_sync(lambda: create_key(tmp_path))
        await until(ring, key.id, "active")
        assert (ring.exist, ring.find(digest(text)), ring.find(digest(text + "x"))) == (True, key, None)
        await trio.to_thread.run_sync(revoke_key, tmp_path, key.id)
        await until(ring, key.id, "revoked")
        assert looks
        nursery.cancel_scope.cancel()


async def test_a_file_that_vanishes_or_breaks_opens_nothing(tmp_path: Path) -> None:
    key, text = create_key(tmp_path)
    ring = KeyRing(tmp_path, 0.02)
    await ring.load()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(ring.watch)
            (tmp_path / "keys.json").write_text("{")
            for _ in range(4):
                await ring.next_look()
            assert ring.find(digest(text)) == key
            (tmp_path / "keys.json").unlink()
            for _ in range(4):
                await ring.next_look()
            assert (ring.exist, ring.find(digest(text))) == (True, None)
            nursery.cancel_scope.cancel()
    assert [line["event"] for line in logs] == ["keys.unusable", "keys.file_gone"]


async def test_a_file_that_cannot_be_read_shuts_an_open_server(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path, 0.02)
    await ring.load()
    with capture_logs():
        async with trio.open_nursery() as nursery:
            await nursery.start(ring.watch)
            (tmp_path / "keys.json").write_text("{")
            for _ in range(3):
                await ring.next_look()
            assert (ring.exist, ring.count) == (True, 0)
            nursery.cancel_scope.cancel()
    with pytest.raises(KeysError, match="is damaged"):
        await KeyRing(tmp_path).load()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    create_key(tmp_path)
    create_key(tmp_path)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()} == {(12345, 12346)}


async def test_use_reaches_the_file_at_most_once_a_minute_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = create_key(tmp_path)
    notes: list[dict[str, int]] = []

    def noting(folder: Path, used: dict[str, int]) -> None:
        notes.append(used)
        note_use(folder, used)

    monkeypatch.setattr(keyring, "note_use", noting)
    ring = KeyRing(tmp_path, 0.01)
    await ring.load()
    async with trio.open_nursery() as nursery:
        await nursery.start(ring.watch)
        for at in range(6000, 6300, 60):
            ring.used(key.id, at)
            for _ in range(3):
                await ring.next_look()
        nursery.cancel_scope.cancel()
    assert notes == [{key.id: 6000}, {key.id: 6240}]
    assert read_keys(tmp_path)[0].last_used == 6240


def test_what_is_shown_of_a_key_opens_nothing(tmp_path: Path) -> None:
    from aura.tools.keys import shown, table

    key, text = create_key(tmp_path, name="[red]web", tenant="acme")
    drawn = msgspec.json.encode(shown(key, 0.0)).decode()
    assert text not in drawn
    assert key.sha256 not in drawn
    assert [column.header for column in table([key], 0.0).columns] == [
        "key", "name", "tenant", "state", "may", "expires", "used",
    ]  # fmt: skip
