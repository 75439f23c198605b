"""The language model of a conversation: a request goes to one of several, and on to another when it must."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import structlog

from aura.core.ports import ChatItem, ChatModel, ChatRequest, Finished, Message, TextDelta, ToolCall
from aura.core.routing.choose import Part
from aura.core.routing.continuing import Continuing, continuation
from aura.core.routing.pricing import LETTERS_PER_TOKEN, Usage, estimated
from aura.core.speakable import CHARS_PER_S
from aura.providers.cache.replies import ReplyCache
from aura.providers.router.board import Basis, Board, BudgetUsedUp, Line, Talk
from aura.providers.router.rescue import Leg, Rescue

log = structlog.get_logger()
SPEAKABLE_CHARS = 40
"""Fewer letters are hardly a sentence: nothing of them is spoken yet."""


class RoutedChat:
    """`ChatModel` for one conversation."""

    def __init__(self, board: Board, talk: Talk, replies: ReplyCache | None = None) -> None:
        self._board, self._talk, self._replies = board, talk, replies
        self.name = board.name("chat")

    def reply(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatItem]]:
        """Stream an answer, whoever gives it."""
        course = ChatCourse(self._board, self._talk, request)
        try:
            course.lines()
        except BudgetUsedUp as error:
            log.warning("budget.used_up", tenant=self._talk.tenant, text=str(error))
            return self._notice()
        if self._replies is None or not self._replies.settings.replies:
            return Rescue(self._board, self._talk, course)
        once = Once(self.name, Rescue(self._board, self._talk, course))
        personal = course.query.personal or course.query.timely
        return self._replies.reply(once, request, personal=personal, identity=self._talk.tenant)

    @asynccontextmanager
    async def _notice(self) -> AsyncIterator[AsyncIterator[ChatItem]]:
        async def items() -> AsyncIterator[ChatItem]:
            yield TextDelta(self._board.settings.budget_notice)
            yield Finished("stop", 0, 0, 0, 0.0, "aura/budget")

        yield items()


class Once(msgspec.Struct):
    """A model that has been asked already, as the cache wants it."""

    name: str
    answer: Rescue[ChatItem]

    def reply(self, request: ChatRequest) -> Rescue[ChatItem]:
        """The answer."""
        return self.answer


class Use(msgspec.Struct):
    """What one engine's part in an answer used."""

    messages: tuple[Message, ...]
    goes_on: bool = False
    """It was asked for the rest of an answer that broke off, be it at first, beside another, or once more."""
    said: list[str] = []
    end: Finished | None = None


class ChatCourse:
    """One answer. A tool call is passed on only when the engine has finished, so that none is ever given twice."""

    part: Part = "chat"
    room = 64

    def __init__(self, board: Board, talk: Talk, request: ChatRequest) -> None:
        self._board, self._talk, self._request = board, talk, request
        asked = next((m.text for m in reversed(request.messages) if m.role == "user"), "")
        size = sum(len(m.text) for m in request.messages)
        self.query = board.classify(asked, tuple(tool.name for tool in request.tools), size)
        self._input_tokens = size // LETTERS_PER_TOKEN
        self._said: list[str] = []
        self._letters = 0
        self._seam: Continuing | None = None
        self._calls: list[ToolCall] = []
        self._uses: dict[Leg[ChatItem], Use] = {}
        self._ended = False

    def lines(self) -> list[Line]:
        """Models that can answer this."""
        return self._board.lines("chat", self._talk, self.query, self._input_tokens)

    def ask(self, leg: Leg[ChatItem]) -> AbstractAsyncContextManager[AsyncIterator[ChatItem]]:
        """Ask for the whole answer, or for what is missing of it."""
        request, said = self._request, "".join(self._said)
        if said:
            request = msgspec.structs.replace(request, messages=continuation(request.messages, said))
        self._uses[leg] = Use(request.messages, bool(said))
        model: ChatModel = leg.line.engine
        return model.reply(request)

    def note(self, leg: Leg[ChatItem], item: ChatItem) -> bool:
        """Count what the engine wrote."""
        use = self._uses[leg]
        if isinstance(item, TextDelta):
            use.said.append(item.text)
            return bool(item.text.strip())
        if isinstance(item, Finished):
            use.end = item
        return True

    def take(self, leg: Leg[ChatItem], item: ChatItem) -> Iterable[ChatItem]:
        """Words as they come, the rest at the end."""
        if isinstance(item, TextDelta):
            text = self._seam_of().push(item.text) if self._uses[leg].goes_on else item.text
            self._said.append(text)
            self._letters += len(text)
            return () if not text else (item,) if text is item.text else (TextDelta(text),)
        if isinstance(item, ToolCall):
            self._calls.append(item)
            return []
        self._ended = True
        rest = self._seam_of().finish() if self._uses[leg].goes_on else ""
        cost, _ = self._cost(leg)
        end = msgspec.structs.replace(item, served_by=leg.line.key, cost_usd=cost)
        return [*([TextDelta(rest)] if rest else []), *self._calls, end]

    def _seam_of(self) -> Continuing:
        if self._seam is None:
            self._seam = Continuing("".join(self._said))
        return self._seam

    def whole(self, leg: Leg[ChatItem]) -> bool:
        """An answer without its end is none."""
        if not self._ended:
            self._seam = None
            self._calls.clear()
        return self._ended

    def rest(self) -> Iterable[ChatItem]:
        """Nothing: the end has been given."""
        return ()

    def ahead_s(self) -> float:
        """As long as the words last that were given, once there is enough of them to be spoken."""
        return self._letters / CHARS_PER_S if self._letters >= SPEAKABLE_CHARS else 0.0

    def _cost(self, leg: Leg[ChatItem]) -> tuple[float | None, Basis]:
        use = self._uses[leg]
        end = use.end or Finished("stop")
        if end.cost_usd is not None:
            return end.cost_usd, "stated"
        counted = end.input_tokens is not None and end.output_tokens is not None
        if not counted:
            guess = estimated([message.text for message in use.messages], "".join(use.said))
            return self._board.price(leg.line, guess), "guessed"
        used = Usage(end.input_tokens or 0, end.cached_tokens or 0, end.output_tokens or 0)
        return self._board.price(leg.line, used), "priced"

    def bill(self, leg: Leg[ChatItem], outcome: str) -> None:
        """A request that was refused costs nothing; one that was cancelled is estimated."""
        if leg not in self._uses or (leg.first_at is None and outcome not in ("ok", "cancelled")):
            self._board.settle(self._talk, self.part, leg, outcome, 0.0, "priced")
            return
        if outcome == "cancelled" and self._uses[leg].end is not None:
            outcome = "ok"  # whoever reads may leave with the end, before the engine has hung up
        self._board.settle(self._talk, self.part, leg, outcome, *self._cost(leg))
