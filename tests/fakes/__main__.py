"""Fake providers to play with: `python -m tests.fakes --port 9100 --fault chat=silent`.

Prints the addresses, and what to tell `aura serve` so that it uses them. Faults can be changed while it runs:
    curl -d '{"kind": "chat", "name": "cut", "times": 1}' http://127.0.0.1:9100/_fakes/fault
    curl -X DELETE http://127.0.0.1:9100/_fakes/fault
or asked for with one request: `x-fake-fault: rate_limited; retry_after_s=2`.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator

import trio

from tests.fakes.faults import NAMES
from tests.fakes.server import Fakes, serve_fakes
from tests.fakes.vendors import VENDORS
from tests.fakes.world import Pace, Spread, World

SETTINGS = {
    "openai": "openai", "xai": "xai", "elevenlabs": "elevenlabs", "deepgram": "deepgram",
    "ollama": "compatible", "vllm": "compatible", "speaches": "compatible", "llamacpp": "compatible",
    "kokoro": "compatible", "whispercpp": "compatible",
}  # fmt: skip
"""The section of AURA's settings in which each vendor's address belongs."""
HOSTED = ("openai", "xai", "elevenlabs", "deepgram")


def help_text() -> str:
    """Dialects and faults."""
    rows = [f"  {name:<12}{', '.join(paths(name))}" for name in VENDORS]
    faults = [f"  {name:<20}{about}" for name, about in NAMES.items()]
    return "\n".join([__doc__ or "", "vendors:", *rows, "", "faults:", *faults])


def paths(name: str) -> Iterator[str]:
    """The addresses of a vendor."""
    for route in VENDORS[name]().routes:
        yield ("WS " if route.ws else "") + route.pattern


def arguments(given: list[str]) -> argparse.Namespace:
    """What the command line says."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tests.fakes", description=help_text(), formatter_class=form)
    parser.add_argument("--port", type=int, default=9100, help="the first port (default 9100); each vendor has its own")
    parser.add_argument("--vendors", default="", help="only these, separated by commas")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND=NAME[@VENDOR][*TIMES]", help="may be repeated"
    )
    parser.add_argument("--heard", action="append", help="what a recogniser hears; repeat it for one after another")
    parser.add_argument("--say", action="append", help="what the model answers; repeat it for one after another")
    parser.add_argument("--ttft", type=float, default=0.35, help="median time to the first token in seconds")
    parser.add_argument("--gap", type=float, default=0.008, help="seconds between tokens")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", action="store_true", help="no jitter and few writes, for load tests")
    return parser.parse_args(given)


def world_of(asked: argparse.Namespace) -> World:
    """The world that was asked for."""
    if asked.load:
        pace = Pace(ttft_s=asked.ttft, gap_s=asked.gap, audio_gap_s=0.02)
    else:
        slow = Spread(asked.ttft, 2 * asked.ttft) if asked.ttft else 0.0
        pace = Pace(slow, asked.gap, Spread(0.15, 0.4), Spread(0.12, 0.3), 0.01)
    world = World(pace=pace, seed=asked.seed)
    world.heard = asked.heard or world.heard
    world.says = asked.say or world.says
    return world


def switch_on(fakes: Fakes, text: str) -> None:
    """`chat=silent@openai*2`."""
    kind, _, rest = text.partition("=")
    rest, _, times = rest.partition("*")
    name, _, vendor = rest.partition("@")
    fakes.fault(kind, name, int(times) if times else None, vendor)


def advice(fakes: Fakes) -> list[str]:
    """What to tell AURA, ready to paste: all hosted vendors at once, then each other server for itself."""

    def of(name: str) -> str:
        section = SETTINGS[name]
        return f"--set {section}.base_url={fakes.url(name)} --set {section}.api_key=fake-{name}-key"

    hosted = [of(name) for name in HOSTED if name in fakes.vendors]
    lines = ["aura serve " + " ".join(hosted)] if hosted else []
    for name in fakes.vendors.keys() - set(HOSTED):
        kinds = {route.kind for route in fakes.vendors[name].dialect.routes} & {"stt", "chat", "tts"}
        engines = " ".join(f"--set engines.{kind}=compatible" for kind in sorted(map(str, kinds)))
        lines.append(f"aura serve {of(name)} {engines}")
    return lines


async def run(asked: argparse.Namespace) -> None:
    """Until somebody presses Ctrl-C."""
    names = [name for name in asked.vendors.split(",") if name]
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with serve_fakes(world_of(asked), *names, port=asked.port, lenient=True) as fakes:
            for text in asked.fault:
                switch_on(fakes, text)
            lines = [f"{name:<12}{fakes.url(name):<30}{fakes.ws_url(name)}" for name in fakes.vendors]
            print("\n".join([*lines, "", *advice(fakes)]), flush=True)
            async for _ in signals:
                break


def main() -> None:
    """The command."""
    asked = arguments(sys.argv[1:])
    try:
        trio.run(run, asked)
    except (ValueError, KeyError, OSError) as error:
        sys.exit(f"python -m tests.fakes: {error}")


if __name__ == "__main__":
    main()
