"""The legal orders A to N of realtime-protocol.md 1.7, written down by hand."""

from __future__ import annotations

from tests.wire_book import SESSION, Book, Event, Reply, session


def normal() -> Book:
    book = Book()
    book.turn()
    Reply(book).whole()
    limits = [{"name": "requests", "limit": 100, "remaining": 99, "reset_seconds": 0.6}]
    book.get("rate_limits.updated", rate_limits=limits)
    return book


def answered_late() -> Book:
    """A: the user's words may come after the reply."""
    book = Book(beta=True)
    book.turn(words=False)
    Reply(book).whole()
    book.words("item_u1")
    return book


def without_response() -> Book:
    book = Book()
    detection = SESSION["audio"]["input"]["turn_detection"] | {"create_response": False}
    patch = {"audio": {"input": {"turn_detection": {"type": "server_vad", "create_response": False}}}}
    book.update(patch, event_id="up_1", audio__input__turn_detection=detection)
    book.turn()
    book.put("response.create", event_id="ask_1")
    Reply(book).whole()
    return book


def not_interruptible() -> Book:
    """C: the second turn is committed while the first reply still runs, and answered behind it."""
    detection = SESSION["audio"]["input"]["turn_detection"] | {"interrupt_response": False}
    book = Book(audio__input__turn_detection=detection)
    book.turn()
    reply = Reply(book)
    reply.begin()
    reply.say("Good ")
    book.turn("item_u2", 3000)
    reply.say("day.")
    reply.close("Good day.")
    reply.done()
    Reply(book, "2").whole()
    return book


def barge_in() -> Book:
    book = Book()
    book.turn()
    reply = Reply(book)
    reply.begin()
    reply.say("Once upon ")
    reply.say("a time.")
    book.get("input_audio_buffer.speech_started", item_id="item_u2", audio_start_ms=4000)
    reply.close("Once upon a time.", "incomplete", heard="Once upon")
    reply.done("cancelled", {"type": "cancelled", "reason": "turn_detected"})
    about = {"item_id": reply.item_id, "content_index": 0}
    book.put("conversation.item.truncate", event_id="cut_1", audio_end_ms=700.4, **about)
    book.get("conversation.item.truncated", audio_end_ms=700, **about)
    book.put("conversation.item.retrieve", item_id=reply.item_id)
    book.get("conversation.item.retrieved", item=reply.outputs[0])
    book.get("input_audio_buffer.speech_stopped", item_id="item_u2", audio_end_ms=5000)
    book.user("item_u2")
    Reply(book, "2").whole()
    return book


def late_barge_in() -> Book:
    book = Book()
    book.turn()
    reply = Reply(book).whole()
    book.get("input_audio_buffer.speech_started", item_id="item_u2", audio_start_ms=4000)
    about = {"item_id": reply.item_id, "content_index": 0, "audio_end_ms": 700}
    book.put("conversation.item.truncate", **about)
    book.get("conversation.item.truncated", **about)
    return book


def cancelled() -> Book:
    """F: cancelled by the client, twice; the second time is a harmless error."""
    book = Book()
    book.turn()
    reply = Reply(book)
    reply.begin()
    reply.say("Once upon a time.")
    book.put("response.cancel", event_id="stop_1")
    reply.close("Once upon a time.", "incomplete", heard="Once")
    reply.done("cancelled", {"type": "cancelled", "reason": "client_cancelled"})
    book.put("response.cancel", event_id="stop_2")
    book.get("error", error=error("response_cancel_not_active", "stop_2"))
    return book


def error(code: str, event_id: str | None = None, param: str | None = None) -> Event:
    return {"type": "invalid_request_error", "code": code, "message": "No.", "param": param, "event_id": event_id}


def function_call() -> Book:
    book = Book()
    book.turn()
    reply = Reply(book)
    reply.call()
    reply.done()
    output = {"type": "function_call_output", "call_id": "call_1", "output": "noon"}
    book.put("conversation.item.create", item={**output, "id": "client_1"}, event_id="make_1")
    book.item({**output, "id": "client_1"})
    book.put("response.create", event_id="ask_1", response={"metadata": {"client_event_id": "ask_1"}})
    Reply(book, "2", metadata={"client_event_id": "ask_1"}).whole()
    return book


def speech_and_call() -> Book:
    book = Book()
    book.turn()
    reply = Reply(book)
    reply.begin()
    reply.say("One moment.")
    reply.close("One moment.")
    reply.call()
    reply.done()
    return book


def written() -> Book:
    """H and J: typed, and answered in writing."""
    book = Book(output_modalities=["text"])
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    book.put("conversation.item.create", item=item, previous_item_id="root")
    book.item({**item, "id": "item_t1", "status": "completed"})
    book.put("response.create")
    Reply(book, text=True).whole()
    return book


def push_to_talk() -> Book:
    book = Book()
    off = {"audio__input__turn_detection": None}
    book.update({"audio": {"input": {"turn_detection": None}}}, **off)
    book.put("input_audio_buffer.clear")
    book.get("input_audio_buffer.cleared")
    book.put("input_audio_buffer.append", audio="AAAA")
    book.put("input_audio_buffer.commit", event_id="over_1")
    book.user("item_u1")
    book.put("response.create", event_id="ask_1")
    Reply(book).whole()
    book.put("input_audio_buffer.commit", event_id="over_2")
    book.get("error", error=error("input_audio_buffer_commit_empty", "over_2"))
    return book


def out_of_band() -> Book:
    """K: beside the default response."""
    book = Book()
    book.turn()
    reply = Reply(book)
    reply.begin()
    reply.say("Good ")
    book.put("response.create", response={"conversation": "none", "metadata": {"topic": "mood"}})
    beside = Reply(book, "2", text=True, outside=True, metadata={"topic": "mood"})
    beside.begin()
    beside.say("calm")
    reply.say("day.")
    beside.close("calm")
    beside.call()
    beside.done()
    reply.close("Good day.")
    reply.done()
    return book


def idle() -> Book:
    detection = SESSION["audio"]["input"]["turn_detection"] | {"idle_timeout_ms": 6000}
    book = Book(audio__input__turn_detection=detection)
    start = {"item_id": "item_u1", "audio_start_ms": 100, "audio_end_ms": 6100}
    book.get("input_audio_buffer.timeout_triggered", **start)
    book.user("item_u1", words=False)
    Reply(book).whole("Still there?")
    return book


def start_and_end() -> Book:
    """M and N: the same update three times within a millisecond, and the end of the session's hour."""
    book = Book(beta=True)
    for number in range(3):
        book.put("session.update", session={"type": "realtime", "tracing": "auto"}, event_id=f"up_{number}")
    for number in (0, 2):
        book.get("session.updated", session=session(tracing="auto"))
        if number == 0:
            book.get("error", error=error("invalid_value", "up_1", "session.tracing"))
    book.get("error", error=error("session_expired"))
    return book


def history() -> Book:
    book = Book()
    system = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "s"}], "id": "sys"}
    old = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "o"}], "id": "old"}
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "call_9", "id": "call"}
    for item in (system, old, call):
        book.put("conversation.item.create", item=item, previous_item_id=book.last or "root")
        book.item({**item, "status": "completed"})
    book.put("conversation.item.create", item=old, event_id="again")
    book.get("error", error=error("item_create_duplicate_item_id", "again", "item.id"))
    book.put("conversation.item.delete", item_id="old")
    book.get("conversation.item.deleted", item_id="old")
    book.put("conversation.item.retrieve", item_id="old")
    book.get("error", error=error("item_retrieve_invalid_item_id"))
    return book


def failures() -> Book:
    book = Book()
    book.turn(words=False)
    wrong = {"type": "server_error", "code": "stt_failed", "message": "No words."}
    about = {"item_id": "item_u1", "content_index": 0}
    book.get("conversation.item.input_audio_transcription.failed", error=wrong, **about)
    Reply(book).done("failed", {"type": "failed", "error": wrong}, None)
    book.put("response.create", event_id="ask_1")
    reply = Reply(book, "2")
    reply.begin()
    reply.say("It goes on and")
    book.put("response.create", event_id="ask_2")
    book.get("error", error=error("conversation_already_has_active_response", "ask_2"))
    reply.close("It goes on and", "incomplete")
    reply.done("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
    return book


BY_HAND = {
    "A normal turn": normal,
    "A words after the reply": answered_late,
    "B no automatic response": without_response,
    "C not interruptible": not_interruptible,
    "D barge-in": barge_in,
    "E barge-in after the response": late_barge_in,
    "F client cancel, twice": cancelled,
    "G function call": function_call,
    "G speech and call": speech_and_call,
    "H, J written": written,
    "I push to talk": push_to_talk,
    "K out of band": out_of_band,
    "L idle": idle,
    "M, N start and end": start_and_end,
    "history": history,
    "failures": failures,
}
