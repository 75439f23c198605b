"""Where conversations are written down: journal, log, metrics, recording, spans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
import structlog
import trio

from aura import __version__
from aura.config import Config
from aura.core.journal import Header, encode
from aura.core.ports import Kit
from aura.core.tape import TapeHeader
from aura.observe.metrics import Metrics
from aura.observe.otel import LiveConversation, Spans
from aura.providers.observed import CallDone
from aura.session.build import JOURNALLED, Sections, Who
from aura.session.client import Client
from aura.session.session import Tap
from aura.session.taps import journal_tap, log_tap, metrics_tap, spans_tap, times_to_metrics, timing_tap
from aura.storage.journals import Journal, Journals
from aura.storage.recordings import Recording, Recordings

log = structlog.get_logger()


class Books:
    """The books of one conversation."""

    def __init__(
        self, metrics: Metrics, journal: Journal, place: str, recording: Recording | None, told: LiveConversation | None
    ) -> None:
        self.metrics, self.journal, self.recording, self.told = metrics, journal, recording, told
        self.place = place
        """The journal's file, in the data folder."""
        self.why = "cut short"
        """Why the conversation ended."""

    def taps(self, client: Client) -> list[Tap]:
        """Who is told of every fact."""
        words = self.recording is not None
        return [
            journal_tap(self.journal.write, words=words),
            log_tap(words=words),
            metrics_tap(self.metrics),
            timing_tap(client.metrics, times_to_metrics(self.metrics), log_times),
            *([spans_tap(self.told)] if self.told else []),
        ]

    def call(self, done: CallDone) -> None:
        """A call of an engine is over."""
        fields = msgspec.to_builtins(done)
        log.info("provider.call", **fields)
        if self.told:
            self.told.call(fields)

    def close(self) -> None:
        """The conversation is over."""
        self.journal.close()
        if self.told:
            self.told.end(self.why)
        if self.recording:
            self.recording.close(self.why)


class Library:
    """Opens the books of all conversations."""

    def __init__(
        self, config: Config, journals: Journals, recordings: Recordings, spans: Spans | None, metrics: Metrics
    ) -> None:
        self.config, self.journals, self.recordings = config, journals, recordings
        self.spans, self.metrics = spans, metrics

    @contextmanager
    def books(self, who: Who, sections: Sections, kit: Kit) -> Iterator[Books]:
        """The books of a conversation, with its name in every log line; closed when it is left."""
        started = datetime.now(UTC).isoformat()
        settings = msgspec.to_builtins(sections)
        recording = self.record(who, started, settings, kit)
        with structlog.contextvars.bound_contextvars(session=who.ident, recorded=recording is not None):
            journal = self.journals.open(who.ident, recording.folder if recording else None)
            shown, tenant = {name: settings[name] for name in JOURNALLED}, who.query.get("tenant", "")
            journal.write(encode(Header(who.ident, started, shown, tenant=tenant)))
            told = self.spans.begin(who.ident, started) if self.spans else None
            place = str(journal.path.relative_to(self.config.storage.data_dir))
            books = Books(self.metrics, journal, place, recording, told)
            try:
                yield books
            finally:
                books.close()

    def record(self, who: Who, started: str, settings: dict[str, object], kit: Kit) -> Recording | None:
        """The recording of a conversation, if it is to be made."""
        if not self.config.storage.record or not self.config.recording.wants(who.query):
            return None
        names = {"stt": kit.stt.name, "chat": kit.chat.name, "tts": kit.tts.name, "backup_tts": kit.backup_tts.name}
        tools = kit.toolbox.tools()
        header = TapeHeader(
            who.ident, started, trio.current_time(), settings, who.query, names, tools, __version__,
            patch=who.patch, expires_at=who.expires_at,
        )  # fmt: skip
        return self.recordings.begin(header)


def log_times(times: object) -> None:
    """One line for each turn that was answered."""
    log.info("turn.times", **msgspec.to_builtins(times))
