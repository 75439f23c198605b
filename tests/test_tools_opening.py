"""Tools from the settings: the user's own modules, and MCP servers, which are real programs here."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import msgspec
import pytest
import trio

from aura.core.errors import ConfigError
from aura.core.ports import ToolBox, ToolCall, ToolResult
from aura.core.secret import Secret
from aura.providers.tools.opening import load_modules, open_tools
from aura.providers.tools.registry import Toolbox, Toolboxes, tool
from aura.providers.tools.settings import McpServer, ToolSettings
from aura.session.setup import Setup
from aura.stages.think import ThinkSettings
from tests.script import stage

PROGRAM = (sys.executable, "-m", "tests.mcp_server")
HOST: Any = None
"""No tool here asks anything of the conversation."""


async def call(box: ToolBox, name: str, **arguments: Any) -> ToolResult:
    return await box.call(ToolCall("call_1", name, msgspec.json.encode(arguments).decode()), HOST)


# ---- modules

MINE = '''
from aura.providers.tools import ToolFault, tool

@tool(deadline_s=30, finishes=True)
async def {name}(colour: str) -> str:
    """Paint it."""
    return f"{{colour}} now"
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("painters", "others"):
        sys.modules.pop(name, None)


async def test_the_tools_of_a_module_in_the_working_folder_are_there(folder: Path) -> None:
    (folder / "painters.py").write_text(MINE.format(name="paint"))
    async with open_tools(ToolSettings(modules=("painters",))) as box:
        first, *others = box.tools()
        assert (first.name, first.description, first.deadline_s, first.finishes) == ("paint", "Paint it.", 30.0, True)
        assert [other.name for other in others][:2] == ["current_time", "calculate"]
        assert await call(box, "paint", colour="red") == ToolResult("red now")
        assert await call(box, "calculate", expression="1 + 1") == ToolResult("1 + 1 = 2")
        assert (await call(box, "missing")).outcome == "bad_call"


async def test_a_tool_of_the_users_stands_in_front_of_auras_own_of_that_name(folder: Path) -> None:
    (folder / "painters.py").write_text(MINE.format(name="calculate"))
    async with open_tools(ToolSettings(modules=("painters",))) as box:
        assert [one.name for one in box.tools()].count("calculate") == 1
        assert await call(box, "calculate", colour="blue") == ToolResult("blue now")


async def test_auras_own_can_be_left_out() -> None:
    async with open_tools(ToolSettings(builtin=False)) as box:
        assert box.tools() == ()
        assert (await call(box, "calculate")).text == "There is no tool 'calculate'. There are: none."


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        (None, ("painters",), "tools.modules: there is no module painters (looked for in the working folder, too)"),
        (None, ("painters.walls",), "tools.modules: there is no module painters.walls"),
        ("x = 1", ("painters",), "tools.modules: painters has no tool; write @tool over a function"),
        ("import no_such_thing", ("painters",), "tools.modules: painters needs no_such_thing, which is not installed"),
        ("1 +", ("painters",), "tools.modules: painters cannot be loaded: SyntaxError: invalid syntax"),
        ("raise ValueError('two\\nlines')", ("painters",), "cannot be loaded: ValueError: two lines"),
        (MINE.format(name="paint"), ("painters", "others"), "painters and others both have a tool paint; rename one"),
    ],
)
def test_what_is_wrong_with_a_module_is_said_in_one_line(
    folder: Path, text: str | None, names: tuple[str, ...], message: str
) -> None:
    (folder / "others.py").write_text(MINE.format(name="paint"))
    if text is not None:
        (folder / "painters.py").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_modules(names)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (McpServer(), "mcp.shop: give it a command or a url"),
        (McpServer(command=("x",), url="http://y"), "mcp.shop: give it a command or a url, not both"),
        (McpServer(url="y.example.com"), "mcp.shop.url is no address"),
    ],
)
def test_a_server_is_a_program_or_an_address(server: McpServer, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ToolSettings(mcp={"shop": server})


# ---- ways to declare


async def test_a_blocking_function_runs_in_a_thread_and_its_time_can_be_over() -> None:
    started, go_on = threading.Event(), threading.Event()

    @tool(blocking=True)
    def fetch(what: str) -> str:
        """Fetch it."""
        started.set()
        go_on.wait(10)
        return f"{what} from {threading.current_thread() is not threading.main_thread()}"

    with trio.move_on_after(0.1) as scope:
        await call(Toolbox(fetch), "fetch", what="x")
    go_on.set()
    assert scope.cancelled_caught
    assert started.is_set()
    assert await call(Toolbox(fetch), "fetch", what="x") == ToolResult("x from True")
    with pytest.raises(TypeError, match="a blocking tool is a plain function"):
        tool(blocking=True)(trio.sleep)  # type: ignore[arg-type]


async def test_a_name_belongs_to_the_first_box() -> None:
    @tool
    def name() -> str:
        """One."""
        return "one"

    def other() -> str:
        """Two."""
        return "two"

    other.__name__ = "name"
    box = Toolboxes(Toolbox(name), Toolbox(tool(other)))
    assert [one.description for one in box.tools()] == ["One."]
    assert (await call(box, "name")).text == "one"


# ---- MCP servers


@asynccontextmanager
async def opened(**servers: McpServer) -> AsyncIterator[ToolBox]:
    with trio.fail_after(30):
        async with open_tools(ToolSettings(mcp=servers, mcp_wait_s=20, result_chars_max=200)) as box:
            yield box


async def ready(box: ToolBox, name: str, **arguments: Any) -> ToolResult:
    """The result of a call, once its server is back."""
    while (result := await call(box, name, **arguments)).outcome == "unavailable":  # noqa: ASYNC110
        await trio.sleep(0.05)
    return result


async def test_the_tools_of_a_program_can_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    server = McpServer(command=PROGRAM, env={"COUNTRY": Secret("Italy")}, deadline_s=4, finishes=("weather",))
    async with opened(shop=server, none=McpServer(command=("no-such-program",))) as box:
        tools = {one.name: one for one in box.tools()}
        assert list(tools)[6:] == [
            "weather", "nap", "broken", "crash", "shop_calculate", "picture", "long_story", "odd_name_with_things",
        ]  # fmt: skip
        weather = tools["weather"]
        assert (weather.description, weather.deadline_s, weather.finishes) == ("Tell the weather.", 4.0, True)
        assert weather.parameters["properties"]["days"]["default"] == 1
        assert tools["nap"].repeats
        assert await call(box, "weather", city="Rome") == ToolResult("Rome: sunny for 1 days in Italy")
        assert await call(box, "calculate", expression="1 + 1") == ToolResult("1 + 1 = 2")
        assert await call(box, "shop_calculate", expression="x") == ToolResult("about x")
        assert '"answer": 42' in (await call(box, "odd_name_with_things")).text
        assert await call(box, "picture") == ToolResult("a house\n[image, image/png, 4 kB]")
        assert (await call(box, "long_story")).text.endswith(" … (19800 more characters)")
        wrong = await call(box, "weather", town="Rome")
        assert wrong.outcome == "failed"
        assert "Field required" in wrong.text
        assert await call(box, "broken") == ToolResult("Error executing tool broken", "failed")
        assert (await box.call(ToolCall("1", "weather", "[1]"), HOST)).outcome == "bad_call"
    logged = capsys.readouterr().out
    assert "there is no program no-such-program" in logged
    assert logged.count("mcp.unavailable") == 1


async def test_a_program_that_ends_harms_nobody_and_is_started_again(capsys: pytest.CaptureFixture[str]) -> None:
    async with opened(shop=McpServer(command=PROGRAM)) as box:
        results: list[ToolResult] = []

        async def nap() -> None:
            results.append(await call(box, "nap", seconds=20))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(nap)
            await trio.sleep(0.1)
            results.append(await call(box, "crash"))
        assert [result.outcome for result in results] == ["unavailable"] * 2
        assert results[0].text.endswith("is not available at the moment. Do without it.")
        assert "weather" in [one.name for one in box.tools()]
        assert await ready(box, "weather", city="Oslo") == ToolResult("Oslo: sunny for 1 days in no country")
    assert "the roof has come down" in capsys.readouterr().out


async def test_a_program_that_does_not_speak_mcp_is_given_up_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    deaf = McpServer(command=(sys.executable, "-c", "import time; time.sleep(30)"), start_s=0.3)
    dead = McpServer(command=(sys.executable, "-c", "import sys; sys.exit('wrong licence')"))
    with trio.fail_after(20):
        async with open_tools(ToolSettings(builtin=False, mcp={"deaf": deaf, "dead": dead}, mcp_wait_s=15)) as box:
            assert box.tools() == ()
    logged = capsys.readouterr().out
    assert "it was not ready within 0.3 s" in logged
    assert "wrong licence" in logged


async def test_a_server_on_the_network_may_come_late_go_and_return() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = partial(trio.run_process, [*PROGRAM, str(port)], check=False, stdout=DEVNULL, stderr=DEVNULL)
    settings = McpServer(url=f"http://127.0.0.1:{port}/mcp", retry_max_s=0.5)
    async with opened(net=settings) as box, trio.open_nursery() as nursery:
        assert not [one for one in box.tools() if one.name == "weather"]
        process = await nursery.start(server)
        while not [one for one in box.tools() if one.name == "weather"]:  # noqa: ASYNC110
            await trio.sleep(0.05)
        assert (await call(box, "weather", city="Oslo")).outcome == "ok"
        process.kill()
        await process.wait()
        assert (await call(box, "weather", city="Oslo")).outcome == "unavailable"
        process = await nursery.start(server)
        assert (await ready(box, "weather", city="Oslo")).outcome == "ok"
        process.kill()


async def test_a_conversation_stops_a_slow_tool_and_tells_the_model() -> None:
    """In real time: the program's tool sleeps, the conversation does not wait for it."""
    setup = Setup(think=ThinkSettings(filler_after_s=0))
    nap = ToolCall("call_1", "nap", '{"seconds": 20}')
    async with opened(shop=McpServer(command=PROGRAM, deadline_s=0.3)) as box:
        async with stage([[nap], "Well."], tools=box, setup=setup, first_token_s=0.01, stt_s=0.01) as scene:
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "sleep"}]}
            scene.user.send(type="conversation.item.create", item=item)
            scene.user.send(type="response.create")
            while not scene.messages("response.done"):  # noqa: ASYNC110
                await trio.sleep(0.02)
            assert ("tool", "nap took longer than 0.3 s and was stopped") in scene.history()
        assert (await call(box, "weather", city="Oslo")).outcome == "ok"
