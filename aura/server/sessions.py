"""The session page's API: recordings found, read and heard. The page itself is static (`web/sessions`).

    GET  /sessions/api/recordings                                   the list, and the search in it
    GET  /sessions/api/recordings/DAY/SESSION                       one conversation
    GET  /sessions/api/recordings/DAY/SESSION/peaks/SIDE/BLOCK      its waveform: pairs of signed bytes
    GET  /sessions/api/recordings/DAY/SESSION/audio/SIDE?from=&to=  a piece of it as WAV; SIDE: user, assistant, both
    GET  /sessions/api/compare?left=&right=                         where two part
    POST /sessions/api/login, /sessions/api/logout                  the operator's key for a cookie, and back

All of it needs the key (`operator.py`). Files are read and decoded in threads, two at a time. Whatever is broken in a
recording is told in the answer; it is never an error of the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import msgspec
import structlog
import trio

from aura.storage.digest import sound
from aura.storage.digest.cache import Lru
from aura.storage.digest.compare import compare
from aura.storage.digest.conversation import CUT_SHORT, digest
from aura.storage.digest.listing import GOING_ON, Library, Query, Signature, folder_of, fresh, names, signature
from aura.storage.digest.shapes import Conversation

from .lockout import Lockout
from .operator import COOKIE, COOKIE_S, Lock

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

log = structlog.get_logger()

T = TypeVar("T")
Endpoint = Callable[["Request"], Awaitable["Response"]]
Side = Literal["user", "assistant", "both"]

THREADS = 2
CONVERSATIONS_KEPT_BYTES = 24 << 20
PEAKS_KEPT_BYTES = 32 << 20
AUDIO_S_MAX = 60.0
LIST_MAX = 200
PRIVATE = {"cache-control": "no-store", "cross-origin-resource-policy": "same-origin"}
"""What people said is not kept in the browser's cache, and not to be put into other sites' pages."""


def session_routes(data_dir: Path, key: str, enabled: bool = True) -> Sequence[BaseRoute]:
    """Routes that come before the static files. Without a key the page is off, and everything below it too."""
    from starlette.routing import Route

    if not enabled or not key:
        return [Route("/sessions", off), Route("/sessions/{rest:path}", off)]
    api, doors = Api(data_dir), Doors(key)
    one = "/sessions/api/recordings/{day}/{name}"
    guarded = {
        "/sessions/api/recordings": api.list,
        one: api.conversation,
        f"{one}/peaks/{{side}}/{{block:int}}": api.peaks,
        f"{one}/audio/{{side}}": api.audio,
        "/sessions/api/compare": api.compare,
    }
    return [
        Route("/sessions/api/login", doors.login, methods=["POST"]),
        Route("/sessions/api/logout", doors.logout, methods=["POST"]),
        *(Route(path, doors.guard(endpoint)) for path, endpoint in guarded.items()),
        Route("/sessions/api/{rest:path}", nothing),
    ]


async def off(request: Request) -> Response:
    """The page is off."""
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    if "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(404, "the session page is off: start AURA with --record, or set server.operator_key")
    text = await trio.to_thread.run_sync((resources.files("aura") / "web" / "sessions" / "off.html").read_bytes)
    return Response(text, 404, media_type="text/html")


async def nothing(request: Request) -> Response:
    """There is no such thing."""
    from starlette.exceptions import HTTPException

    raise HTTPException(404, "there is no such thing in the sessions API")


class Doors:
    """Lets in whoever has the key."""

    def __init__(self, key: str) -> None:
        self._lock, self._lockout = Lock(key), Lockout()

    def guard(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, for those who have the key or a cookie made from it."""

        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if not given and self._lock.admits(request.cookies.get(COOKIE, "")):
                return await endpoint(request)
            scheme, _, key = given.partition(" ")
            if scheme.lower() != "bearer":
                raise refusal(401, "the operator's key is needed: log in, or send `Authorization: Bearer KEY`")
            self._check(request, key.strip())
            return await endpoint(request)

        return guarded

    def _check(self, request: Request, key: str) -> None:
        """Raises HTTPException unless this is the key."""
        address, now = request.client.host if request.client else "", trio.current_time()
        if (wait_s := self._lockout.wait_s(address, now)) > 0:
            seconds = int(wait_s) + 1
            raise refusal(429, f"too many wrong keys: try again in {seconds} s", {"retry-after": str(seconds)})
        if not self._lock.opens(key):
            self._lockout.failed(address, now)
            log.warning("sessions.wrong_key", remote=address)
            raise refusal(401, "this is not the operator's key")
        self._lockout.forgive(address)

    async def login(self, request: Request) -> Response:
        """The key for a cookie."""
        from starlette.responses import Response

        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise refusal(403, "pages of other sites may not log in here")
        try:
            key = msgspec.json.decode(await request.body(), type=_Login).key
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise refusal(400, 'expected {"key": "…"}') from None
        self._check(request, key.strip())
        answer = Response(status_code=204, headers=PRIVATE)
        self._set(answer, request, self._lock.cookie(), COOKIE_S)
        return answer

    async def logout(self, request: Request) -> Response:
        """Forget the cookie."""
        from starlette.responses import Response

        answer = Response(status_code=204, headers=PRIVATE)
        self._set(answer, request, "", 0)
        return answer

    @staticmethod
    def _set(answer: Response, request: Request, value: str, seconds: int) -> None:
        secure = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE, value, max_age=seconds, path="/sessions", secure=secure, httponly=True, samesite="strict"
        )


class _Login(msgspec.Struct, frozen=True):
    key: str


def refusal(status: int, text: str, headers: dict[str, str] | None = None) -> Exception:
    """Answered with this status and line."""
    from starlette.exceptions import HTTPException

    return HTTPException(status, text, {**PRIVATE, **(headers or {})})


class Api:
    """Answers about the recordings of one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._library = Library(data_dir)
        self._threads = trio.CapacityLimiter(THREADS)
        self._reading = trio.Lock()
        """One at a time reads journals and tapes: it keeps the interpreter busy, and is done once for two requests."""
        self._kept: Lru[str, tuple[Signature, Conversation, bytes]] = Lru(
            CONVERSATIONS_KEPT_BYTES, lambda kept: len(kept[2])
        )
        self._peaks: Lru[tuple[str, Signature, str, int], sound.Peaks] = Lru(PEAKS_KEPT_BYTES, lambda kept: kept.nbytes)

    async def _work(self, work: Callable[[], T]) -> T:
        """Do something that reads files or computes, in a thread."""
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)

    async def _folder(self, ident: str) -> Path:
        folder = await self._work(lambda: folder_of(self._data_dir, ident))
        if folder is None:
            raise refusal(404, f"there is no recording {ident[:120]}: it may have been deleted")
        return folder

    async def _digest(self, request: Request, *, anew: bool = False) -> tuple[Path, Signature, Conversation, bytes]:
        """The recording that a request names; `anew`: as it is now, and not as it was when it was last looked at."""
        folder = await self._folder("{day}/{name}".format(**request.path_params))

        def work() -> tuple[Signature, Conversation, bytes]:
            kept = self._kept.get(str(folder))
            mark = signature(folder)
            if kept is None or (anew and (kept[0] != mark or kept[1].outcome == GOING_ON)):
                conversation = digest(folder)
                if conversation.outcome == CUT_SHORT and fresh(mark):
                    conversation = msgspec.structs.replace(conversation, outcome=GOING_ON)
                kept = (mark, conversation, msgspec.json.encode(conversation))
                self._kept.put(str(folder), kept)
            return kept

        async with self._reading:
            return (folder, *await self._work(work))

    # ---- endpoints

    async def list(self, request: Request) -> Response:
        """The newest recordings, or those that fit the query."""
        query = _query(request)
        async with self._reading:
            return _json(await self._work(lambda: msgspec.json.encode(self._library.find(query))))

    async def conversation(self, request: Request) -> Response:
        """Everything about one but its audio."""
        if request.query_params.get("quick"):
            folder = await self._folder("{day}/{name}".format(**request.path_params))
            async with self._reading:
                return _json(await self._work(lambda: msgspec.json.encode(digest(folder, quick=True))))
        return _json((await self._digest(request, anew=True))[3])

    async def peaks(self, request: Request) -> Response:
        """A block of the waveform of one side, at a level."""
        side, block = _side(request, ("user", "assistant")), request.path_params["block"]
        level = int(_number(request, "level", 0, sound.LEVELS - 1))
        folder, mark, conversation, _ = await self._digest(request)
        tracks = _tracks(conversation, side)

        def work() -> bytes:
            key = (str(folder), mark, side, block)
            fine = self._peaks.get(key)
            if fine is None:
                fine = sound.peaks(folder, tracks, block, conversation.seconds)
                self._peaks.put(key, fine)
            return sound.coarser(fine, level).tobytes()

        return _answer(await self._work(work), "application/octet-stream")

    async def audio(self, request: Request) -> Response:
        """A piece of the audio as it was heard; `both` has the user on the left and the assistant on the right."""
        side = _side(request, ("user", "assistant", "both"))
        folder, _, conversation, _ = await self._digest(request)
        begin = _number(request, "from", 0.0, conversation.seconds)
        end = _number(request, "to", begin, conversation.seconds, default=min(begin + 10, conversation.seconds))
        if end - begin > AUDIO_S_MAX:
            raise refusal(400, f"at most {AUDIO_S_MAX:g} s of audio at once")
        sides: Sequence[Side] = ("user", "assistant") if side == "both" else (side,)

        def work() -> bytes:
            rate_hz = max(sound.rate_of(_tracks(conversation, one)) for one in sides)
            channels = [sound.samples(folder, _tracks(conversation, one), begin, end, rate_hz) for one in sides]
            return sound.wav(channels, rate_hz)

        return _answer(await self._work(work), "audio/wav")

    async def compare(self, request: Request) -> Response:
        """Where two recordings part."""
        left, right = [await self._folder(request.query_params.get(name, "")) for name in ("left", "right")]
        async with self._reading:
            return _json(await self._work(lambda: msgspec.json.encode(compare(left, right))))


def _query(request: Request) -> Query:
    asked = dict(request.query_params)
    try:
        limit = max(1, min(LIST_MAX, int(asked.pop("limit", "50"))))
        if asked.get("after") and names(asked["after"]) is None:
            raise ValueError("after is no recording's id")
        return msgspec.convert({**asked, "limit": limit}, Query)
    except (msgspec.ValidationError, ValueError) as error:
        raise refusal(400, f"the search cannot be read: {error}") from None


def _side(request: Request, known: Sequence[Side]) -> Side:
    side = request.path_params["side"]
    if side not in known:
        raise refusal(404, f"the sides are {', '.join(known)}")
    return cast("Side", side)


def _number(request: Request, name: str, low: float, high: float, default: float | None = None) -> float:
    """A number in the query, within its limits."""
    text = request.query_params.get(name)
    try:
        number = (low if default is None else default) if text is None else float(text)
    except ValueError:
        number = float("nan")
    if not number == number:
        raise refusal(400, f"{name} must be a number")
    return max(low, min(high, number))


def _tracks(conversation: Conversation, side: Side) -> Any:
    return conversation.user if side == "user" else conversation.assistant


def _json(body: bytes) -> Response:
    return _answer(body, "application/json")


def _answer(body: bytes, kind: str) -> Response:
    from starlette.responses import Response

    return Response(body, media_type=kind, headers=PRIVATE)
