"""The table of the conversation: what each fact does in each state.

Rows are tried from top to bottom; a row without a guard always holds. Every (state, event) pair is decided, which a
test enumerates. The guards and orders named here are methods of `fsm.Conversation`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from aura.core import events as ev

STATES = ("idle", "listening", "thinking", "speaking", "interrupted")
State = Literal["idle", "listening", "thinking", "speaking", "interrupted"]


class Row(msgspec.Struct, frozen=True):
    """One line of the table: in these states, this fact (when the guard holds) leads there and orders that."""

    event: type[ev.Event]
    states: str
    to: State | Literal["=", "bug"]
    """`=` stays; `bug` must not happen."""
    do: str = ""
    """Methods of `Conversation` that append the effects, in order."""
    when: str = ""
    """A property of `Conversation` that must hold; `!` negates. Rows are tried from top to bottom."""


ANY = "idle listening thinking speaking interrupted"

TABLE: tuple[Row, ...] = (
    # ---- the user's voice
    Row(ev.SpeechSuspected, "speaking", "=", when="waits_its_turn"),
    Row(ev.SpeechSuspected, "speaking", "=", "brake"),
    Row(ev.SpeechSuspected, "idle listening thinking interrupted", "="),
    Row(ev.SuspicionPassed, "speaking", "=", "unbrake"),
    Row(ev.SuspicionPassed, "idle listening thinking interrupted", "="),
    Row(ev.SpeechStarted, "idle", "listening", "open_turn"),
    Row(ev.SpeechStarted, "listening", "=", "drop_draft"),
    Row(ev.SpeechStarted, "thinking speaking", "=", "open_beside", when="waits_its_turn"),
    Row(ev.SpeechStarted, "thinking speaking", "interrupted", "hold open_tentative"),
    Row(ev.SpeechStarted, "interrupted", "=", "drop_draft go_on"),
    Row(ev.SpeechResumed, "listening interrupted", "=", "drop_draft go_on"),
    Row(ev.SpeechResumed, "idle thinking speaking", "="),
    Row(ev.SpeechPaused, "listening", "=", "start_draft", when="may_draft"),
    Row(ev.SpeechPaused, "interrupted", "=", "start_draft", when="!has_draft"),
    Row(ev.SpeechPaused, ANY, "="),
    Row(ev.TurnEnded, "listening", "idle", "drop_draft end_turn settle", when="!answers"),
    Row(ev.TurnEnded, "listening", "thinking", "end_turn answer"),
    Row(ev.TurnEnded, "interrupted", "=", "note_end", when="has_draft"),
    Row(ev.TurnEnded, "interrupted", "=", "note_end start_draft"),
    Row(ev.TurnEnded, "thinking speaking", "=", "end_turn settle_beside", when="beside"),
    Row(ev.TurnEnded, "idle thinking speaking", "="),
    Row(ev.OverlapConfirmed, "interrupted", "idle", "cut confirm end_noted drop_draft settle", when="over_unasked"),
    Row(ev.OverlapConfirmed, "interrupted", "thinking", "cut confirm end_noted answer", when="over"),
    Row(ev.OverlapConfirmed, "interrupted", "listening", "cut confirm"),
    Row(ev.OverlapConfirmed, "idle listening thinking speaking", "="),
    Row(ev.OverlapDismissed, "interrupted", "speaking", "dismiss", when="was_speaking"),
    Row(ev.OverlapDismissed, "interrupted", "idle", "dismiss give_up", when="beyond_repair"),
    Row(ev.OverlapDismissed, "interrupted", "thinking", "dismiss repair", when="broken"),
    Row(ev.OverlapDismissed, "interrupted", "thinking", "dismiss"),
    Row(ev.OverlapDismissed, "idle listening thinking speaking", "="),
    # ---- a reply comes about
    Row(ev.TranscriptReady, "listening", "=", "drop_draft", when="without_words"),
    Row(ev.TranscriptReady, "listening", "=", "know_draft"),
    Row(ev.TranscriptReady, "thinking", "=", "answer_all_the_same", when="wordless_but_asked"),
    Row(ev.TranscriptReady, "thinking", "=", "drop_reply say_rest", when="noise_cut_us_off"),
    Row(ev.TranscriptReady, "thinking", "=", "drop_reply request", when="noise_cut_thought"),
    Row(ev.TranscriptReady, "thinking", "listening", "drop_reply take_floor", when="beside_wordless"),
    Row(ev.TranscriptReady, "thinking", "=", "drop_reply answer_owed_turn", when="owed_wordless"),
    Row(ev.TranscriptReady, "thinking", "idle", "drop_reply", when="without_words"),
    Row(ev.TranscriptReady, "thinking", "=", "know respond"),
    Row(ev.TranscriptReady, "interrupted", "thinking", "cut confirm end_noted answer", when="was_noise_and_over"),
    Row(ev.TranscriptReady, "interrupted", "listening", "cut confirm", when="was_noise"),
    Row(ev.TranscriptReady, "interrupted", "=", "know respond", when="of_reply"),
    Row(ev.TranscriptReady, "interrupted", "=", "drop_draft", when="not_meant"),
    Row(ev.TranscriptReady, "interrupted", "idle", "cut confirm end_noted drop_draft settle", when="over_unasked"),
    Row(ev.TranscriptReady, "interrupted", "thinking", "know_draft cut confirm end_noted answer", when="over"),
    Row(ev.TranscriptReady, "interrupted", "listening", "know_draft cut confirm"),
    Row(ev.TranscriptReady, "idle speaking", "bug"),
    *(Row(fact, ANY, "=") for fact in (ev.FirstTokenArrived, ev.ToolCalled, ev.ToolFinished, ev.FirstAudioArrived)),
    Row(ev.FillerSaid, ANY, "=", "note_filler"),
    Row(ev.SentenceReady, ANY, "=", "note_words"),
    Row(ev.FunctionRequested, "thinking speaking interrupted", "=", "hand_over"),
    Row(ev.FunctionRequested, "idle listening", "bug"),
    Row(ev.ReplyStarted, "thinking", "speaking"),
    Row(ev.ReplyStarted, "idle listening speaking interrupted", "bug"),
    Row(ev.PlayoutFinished, "speaking", "thinking", "repair", when="repairable"),
    Row(ev.PlayoutFinished, "speaking", "thinking", "apologise", when="only_filled"),
    Row(ev.PlayoutFinished, "thinking", "=", "apologise", when="said_nothing"),
    Row(ev.PlayoutFinished, "thinking speaking", "listening", "finish take_floor", when="beside"),
    Row(ev.PlayoutFinished, "thinking speaking", "thinking", "finish answer_owed_turn", when="answer_owed"),
    Row(ev.PlayoutFinished, "thinking speaking", "idle", "finish"),
    Row(ev.PlayoutFinished, "idle listening interrupted", "bug"),
    # ---- a reply fails: retry, fall over, apologise, idle, in this order
    Row(ev.StageFailed, "listening", "=", "drop_draft"),
    Row(ev.StageFailed, "thinking", "=", "note_failure repair", when="!hopeless"),
    Row(ev.StageFailed, "thinking", "listening", "fail take_floor", when="beside"),
    Row(ev.StageFailed, "thinking", "=", "fail answer_owed_turn", when="answer_owed"),
    Row(ev.StageFailed, "thinking", "idle", "fail"),
    Row(ev.StageFailed, "speaking", "=", "note_failure"),
    Row(ev.StageFailed, "interrupted", "=", "note_failure", when="of_reply"),
    Row(ev.StageFailed, "interrupted", "speaking", "dismiss", when="was_speaking"),
    Row(ev.StageFailed, "interrupted", "idle", "dismiss give_up", when="beyond_repair"),
    Row(ev.StageFailed, "interrupted", "thinking", "dismiss repair", when="broken"),
    Row(ev.StageFailed, "interrupted", "thinking", "dismiss"),
    Row(ev.StageFailed, "idle", "bug"),
    # ---- the client
    Row(ev.AudioCommitted, "idle", "=", "new_turn commit"),
    Row(ev.AudioCommitted, "listening", "idle", "drop_draft end_by_client commit"),
    Row(ev.AudioCommitted, "thinking speaking", "=", "end_by_client leave_beside commit", when="beside"),
    Row(ev.AudioCommitted, "thinking speaking", "=", "new_turn commit"),
    Row(ev.AudioCommitted, "interrupted", "idle", "drop_draft cut confirm end_by_client commit"),
    Row(ev.AudioCleared, "listening", "idle", "drop_draft drop_turn"),
    Row(ev.AudioCleared, "interrupted", "speaking", "dismiss", when="was_speaking"),
    Row(ev.AudioCleared, "interrupted", "idle", "dismiss give_up", when="beyond_repair"),
    Row(ev.AudioCleared, "interrupted", "thinking", "dismiss repair", when="broken"),
    Row(ev.AudioCleared, "interrupted", "thinking", "dismiss"),
    Row(ev.AudioCleared, "thinking speaking", "=", "drop_turn leave_beside", when="beside"),
    Row(ev.AudioCleared, "idle thinking speaking", "="),
    Row(ev.ReplyRequested, "idle", "thinking", "request"),
    Row(ev.ReplyRequested, "listening", "thinking", "drop_draft end_now start_asked"),
    Row(ev.ReplyRequested, "thinking speaking", "thinking", "cancel request", when="announcing"),
    Row(ev.ReplyRequested, "thinking speaking interrupted", "=", "refuse_second"),
    Row(ev.ReplyCancelled, "thinking speaking", "listening", "cancel take_floor", when="beside"),
    Row(ev.ReplyCancelled, "thinking speaking", "thinking", "cancel answer_owed_turn", when="answer_owed"),
    Row(ev.ReplyCancelled, "thinking speaking", "idle", "cancel"),
    Row(ev.ReplyCancelled, "interrupted", "idle", "cancel confirm end_noted drop_draft settle", when="over_unasked"),
    Row(ev.ReplyCancelled, "interrupted", "thinking", "cancel confirm end_noted answer", when="over"),
    Row(ev.ReplyCancelled, "interrupted", "listening", "cancel confirm"),
    Row(ev.ReplyCancelled, "idle listening", "=", "refuse_cancel"),
    Row(ev.HistoryChanged, "listening", "=", "drop_draft"),
    Row(ev.HistoryChanged, "idle thinking speaking interrupted", "="),
    Row(ev.AnswersSwitched, ANY, "=", "switch_answers"),
    Row(ev.InterruptionsSwitched, ANY, "=", "switch_interruptions"),
    Row(ev.IdleTimedOut, "idle", "thinking", "time_out request"),
    Row(ev.IdleTimedOut, "listening thinking speaking interrupted", "="),
    Row(ev.ConnectionLost, ANY, "=", "suspend"),
    Row(ev.ConnectionResumed, ANY, "=", "restore"),
    Row(ev.AsideBegan, ANY, "="),
    Row(ev.AsideEnded, ANY, "="),
    Row(ev.SayRequested, "idle", "thinking", "say"),
    Row(ev.SayRequested, "listening thinking speaking interrupted", "=", "postpone"),
    Row(ev.SessionClosing, ANY, "idle", "close"),
)
