"""Conversations with the offline assistant: tools, results in words, what it remembers, and the port itself."""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.ports import ChatRequest, Finished, Message, TextDelta, Tool, ToolCall
from aura.providers.offline.chat import OfflineChat, decide
from aura.providers.offline.skills_vocabulary import VOCABULARY
from aura.providers.offline.stories import JOKES, STORIES
from aura.providers.tools.builtin import default_toolbox
from tests.test_offline_chat import asked

NOW = datetime(2026, 11, 22, 14, 54, tzinfo=UTC)
TOOLS = default_toolbox(lambda: NOW).tools()
BEYOND = "That is beyond me while I am offline."


class Host:
    """Never says anything."""

    def say_later(self, after_s: float, text: str) -> Callable[[], None]:
        return lambda: None


class Talk:
    """A conversation with the assistant, whose tools are run."""

    def __init__(self, *tools: Tool) -> None:
        self.messages: list[Message] = [Message("system", "You are a pirate.")]
        self.box, self.host, self.tools = default_toolbox(lambda: NOW), Host(), tools
        self.calls: list[ToolCall] = []

    async def say(self, text: str) -> str:
        self.messages.append(Message("user", text))
        for _ in range(3):
            items = await collect(ChatRequest(tuple(self.messages), self.tools))
            calls = tuple(item for item in items if isinstance(item, ToolCall))
            self.calls += calls
            if not calls:
                break
            self.messages.append(Message("assistant", "", tool_calls=calls))
            for call in calls:
                result = (await self.box.call(call, self.host)).text
                self.messages.append(Message("tool", result, tool_call_id=call.id))
        answer = "".join(item.text for item in items if isinstance(item, TextDelta))
        self.messages.append(Message("assistant", answer))
        return answer

    def interrupt(self, heard: int) -> None:
        """Only so many letters of the last answer were heard."""
        self.messages[-1] = Message("assistant", f"{self.messages[-1].text[:heard].rstrip()}—")


async def collect(request: ChatRequest) -> list[object]:
    async with OfflineChat().reply(request) as items:
        return [item async for item in items]


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        ("what time is it", "It is 2:54 PM."),
        ("what is the date", "Today is Sunday, the 22nd of November 2026."),
        ("what is the time and date", "It is 2:54 PM on Sunday, the 22nd of November 2026."),
        ("what year is it", "It is the year 2026."),
        ("what month is it", "It is November 2026."),
        ("what time is it in tokyo", "It is 11:54 PM in Tokyo."),
        ("what time is it in atlantis", "The time zone of 'Atlantis' is not known."),
        ("what's twenty five times four", "25 times 4 is 100."),
        ("what is the square root of two", "The square root of 2 is about 1.41."),
        ("two to the power of ten", "2 to the power of 10 is 1024."),
        ("what is five squared", "5 squared is 25."),
        ("three minus five", "3 minus 5 is minus 2."),
        ("ten divided by zero", "It would be a division by zero, which has no result."),
        ("convert ten miles to kilometers", "10 miles is about 16.09 kilometers."),
        ("how many feet in a mile", "1 mile is 5280 feet."),
        ("minus ten celsius in fahrenheit", "Minus 10 degrees Celsius is 14 degrees Fahrenheit."),
        ("convert ten miles to hours", "Miles measure length, but hours measure time."),
        ("set a timer for ten seconds", "Timer set for 10 seconds."),
        ("set a tea timer for ten minutes", "Your tea timer is set for 10 minutes."),
        ("remind me in ten minutes to call", "I will remind you in 10 minutes."),
        ("list my timers", "No timer is running."),
        ("cancel the timer", "No timer is running."),
    ],
)
async def test_a_tool_result_is_put_into_words(heard, answer):
    assert await Talk(*TOOLS).say(heard) == answer


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        ("what's seven times eight", "7 times 8 is 56."),
        ("ten divided by zero", "division by zero"),
        ("convert ten miles to kilometers", "10 miles is about 16.09 kilometers."),
        ("what time is it", "I have no clock in this conversation"),
        ("set a timer for ten seconds", "I cannot set timers in this conversation."),
        ("remind me in ten seconds", "I cannot set timers"),
        ("list my timers", "I cannot set timers"),
        ("cancel all timers", "I cannot set timers"),
    ],
)
async def test_without_tools_it_does_what_it_can(heard, answer):
    talk = Talk()
    assert answer in await talk.say(heard)
    assert talk.calls == []


CONVERSATIONS = {
    "units go on": [
        ("how many feet are in a mile", "5280 feet"), ("and in kilometres", "1 mile is about 1.61 kilometers."),
        ("what about inches", "1 mile is 63360 inches."), ("thanks", "welcome"), ("what day is it", "Sunday"),
    ],
    "sums go on": [
        ("seven times eight", "56"), ("and times two", "56 times 2 is 112."), ("plus ten", "112 plus 10 is 122."),
        ("divide that by four", "122 divided by 4 is 30.5."), ("what time is it", "2:54"), ("and plus ten", BEYOND),
    ],
    "other clocks": [
        ("what is the time", "2:54 PM."), ("and in tokyo", "11:54 PM in Tokyo"), ("what about paris", "3:54 PM in Par"),
    ],
    "timers": [
        ("set a timer", "For how long"), ("half an hour", "30 minutes"), ("set a tea timer for ten minutes", "tea"),
        ("list my timers", "You have 2 timers: the tea timer has 10 minutes left and the 30 minute timer"),
        ("cancel the timer", "Which one?"), ("what time is it", "2:54"), ("cancel the timer", "Which one?"),
        ("the tea one", "I cancelled the tea timer."), ("cancel all timers", "I cancelled the 30 minute timer."),
    ],
    "again": [
        ("spell cat", "C, A, T"), ("say that again", "Cat: C, A, T."), ("again", "Cat: C, A, T."),
        ("what did i just say", "You said: again"), ("how do you spell that", "A, G, A, I, N"),
    ],
    "asked back": [
        ("repeat after me", "What shall I repeat?"), ("what time is it", "What time is it."), ("spell", "Which word"),
        ("dog", "D, O, G"), ("repeat after me please", "What shall I repeat?"), ("never mind", "All right"),
    ],
    "another": [
        ("tell me a joke", JOKES[0]), ("another one", JOKES[1]), ("tell me a story", STORIES[0]),
        ("one more", STORIES[1]), ("tell me a joke", JOKES[2]), ("go on", "That was the end. Would you like"),
        ("yes please", STORIES[2]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("title", CONVERSATIONS)
async def test_it_remembers(title):
    talk = Talk(*TOOLS)
    for heard, answer in CONVERSATIONS[title]:
        assert answer in await talk.say(heard), heard
    ids = [call.id for call in talk.calls]
    assert len(set(ids)) == len(ids)


async def test_an_interrupted_story_goes_on_where_it_was_cut_off():
    talk = Talk()
    await talk.say("tell me a story")
    talk.interrupt(STORIES[0].index("far away"))
    assert await talk.say("stop") == "Okay."
    assert (await talk.say("continue")).startswith("Where was I? One night the lamp went out in a storm, and far away")
    talk.interrupt(100)
    assert (await talk.say("keep going")).startswith("Where was I? She had no spare bulb")
    assert await talk.say("tell me a story") == STORIES[1]


async def test_an_interrupted_story_is_told_whole_again():
    talk = Talk()
    await talk.say("tell me a story")
    talk.interrupt(60)
    assert await talk.say("say that again") == STORIES[0]


async def test_stories_begin_again_when_all_were_told():
    talk = Talk()
    told = [await talk.say("tell me a story") for _ in range(len(STORIES) + 2)]
    assert told == [*STORIES, STORIES[0], STORIES[1]]


def test_stories_are_of_a_length_to_interrupt():
    assert all(60 <= len(story.split()) <= 120 for story in STORIES)
    assert len(STORIES) >= 4


# ---- tools of an application


def declare(name: str, required: tuple[str, ...] = (), **properties: object) -> Tool:
    return Tool(name, "", {"type": "object", "properties": properties, "required": list(required)})


@pytest.mark.parametrize(
    ("tool", "heard", "arguments"),
    [
        (declare("get_weather"), "what is the weather", {}),
        (declare("getWeather", ("city",), city={"type": "string"}), "what's the weather like in new york today",
         {"city": "New york"}),
        (declare("turn_on_lights", ("room",), room={"type": "string"}), "turn on the lights in the kitchen",
         {"room": "The kitchen"}),
        (declare("set_volume", ("level",), level={"type": "integer"}), "set the volume to seven", {"level": 7}),
        (declare("play_music", ("genre",), genre={"enum": ["jazz", "rock"]}), "play some jazz music",
         {"genre": "jazz"}),
    ],
)  # fmt: skip
def test_declared_tools_are_called_by_their_name(tool, heard, arguments):
    assert asked(heard, (*TOOLS, tool)) == (tool.name, arguments)


def test_a_declared_tool_whose_needs_are_not_met_is_not_called():
    weather = declare("get_weather", ("day", "city"), day={"type": "string"}, city={"type": "string"})
    assert BEYOND in asked("what is the weather", (weather,))


def test_a_tool_of_the_same_name_but_other_parameters_is_not_called():
    other = declare("calculate", ("left", "right"), left={"type": "number"}, right={"type": "number"})
    assert asked("two plus two", (other,)) == "2 plus 2 is 4."


@pytest.mark.parametrize(
    ("name", "arguments", "result", "answer"),
    [
        ("get_weather", "{}", '{"sky": "clear", "degrees_c": 20}', "Sky: clear, degrees c: 20."),
        ("get_weather", "{}", "rain all day", "Rain all day."),
        ("get_weather", "{}", "", "That is done."),
        ("get_weather", "not json", "[true, null]", "Yes, nothing."),
        ("get_weather", "{}", "{broken", "{broken."),
        ("calculate", '{"expression": "6 * 7"}', "42", "6 times 7 is 42."),
        ("current_time", "{}", "half past nine", "Half past nine."),
        ("convert_units", "{}", "5 km", "5 km."),
        ("list_timers", "{}", "none", "None."),
    ],
)
async def test_results_of_strange_tools_are_said_too(name, arguments, result, answer):
    call = ToolCall("call_9", name, arguments)
    messages = (
        Message("user", "tell me"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", result, tool_call_id="call_9"),
    )
    items = await collect(ChatRequest(messages, TOOLS))
    assert "".join(item.text for item in items if isinstance(item, TextDelta)) == answer


def test_several_results_are_said_together():
    calls = tuple(ToolCall(f"call_{n}", "calculate", f'{{"expression": "{n} + 1"}}') for n in (1, 2))
    results = tuple(Message("tool", str(n + 1), tool_call_id=f"call_{n}") for n in (1, 2))
    items = decide(ChatRequest((Message("user", "sums"), Message("assistant", "", tool_calls=calls), *results)))
    assert "".join(i.text for i in items if isinstance(i, TextDelta)) == "1 plus 1 is 2. 2 plus 1 is 3."


heard = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(sorted(VOCABULARY) + "a an and for to in is it of my % 3 -".split()), max_size=14).map(
        " ".join
    ),
)


@given(heard, heard, st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_nothing_that_is_said_or_returned_upsets_it(first, second, result):
    messages: list[Message] = []
    for text in (first, second):
        messages.append(Message("user", text))
        items = decide(ChatRequest(tuple(messages), TOOLS))
        assert isinstance(items[-1], Finished)
        if isinstance(items[0], ToolCall):
            assert msgspec.json.decode(items[0].arguments, type=dict) is not None
            messages += [Message("assistant", "", tool_calls=(items[0],))]
            messages += [Message("tool", result, tool_call_id=items[0].id)]
            items = decide(ChatRequest(tuple(messages), TOOLS))
            assert items[-1].reason == "stop"
        messages.append(Message("assistant", "".join(item.text for item in items if isinstance(item, TextDelta))))


@pytest.mark.parametrize(
    "schema",
    [{}, {"properties": None}, {"properties": {"a": True}, "required": 5}, {"required": ["b"]},
     {"properties": {"a": {"enum": 3, "type": ["string"]}}, "required": ["a", 1]}],
)  # fmt: skip
def test_strange_schemas_do_not_upset_it(schema):
    for name in ("get_weather", "calculate", "__", ""):
        assert decide(ChatRequest((Message("user", "weather two plus two"),), (Tool(name, "", schema),)))


# ---- the port


async def test_an_answer_comes_word_by_word_and_is_finished():
    items = await collect(ChatRequest((Message("user", "thank you"),)))
    assert items == [TextDelta("You"), TextDelta(" are"), TextDelta(" welcome."), Finished("stop", output_tokens=3)]


async def test_a_call_is_finished_too():
    items = await collect(ChatRequest((Message("user", "two plus two"),), TOOLS))
    assert isinstance(items[0], ToolCall)
    assert items[1:] == [Finished("tool_calls")]


async def test_a_limit_of_tokens_is_kept():
    items = await collect(ChatRequest((Message("user", "tell me a story"),), max_tokens=3))
    assert items == [TextDelta("Here"), TextDelta(" is"), TextDelta(" a"), Finished("length", output_tokens=3)]


@pytest.mark.parametrize("messages", [(), (Message("system", "Be kind."),), (Message("assistant", "Hello."),)])
async def test_it_greets_when_nobody_has_spoken(messages):
    items = await collect(ChatRequest(messages))
    assert items[0] == TextDelta("Hello!")


async def test_leaving_or_cancelling_leaves_nothing_behind():
    request = ChatRequest((Message("user", "tell me a story"),))
    async with OfflineChat().reply(request) as items:
        async for _ in items:
            break
    with trio.CancelScope() as scope:
        async with OfflineChat().reply(request) as items:
            async for _ in items:
                scope.cancel()
    assert scope.cancelled_caught
    gc.collect()  # an abandoned async generator would warn, and warnings are errors


def test_the_same_conversation_gets_the_same_answer_and_id():
    request = ChatRequest((Message("user", "two plus two"),), TOOLS)
    assert decide(request) == decide(request)
