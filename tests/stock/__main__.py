"""`python -m tests.stock install | run | long`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import trio
from rich.console import Console
from rich.table import Table

from tests.stock.catalogue import named
from tests.stock.install import LIMIT_S, install
from tests.stock.job import LONG, SCENARIOS, Outcome
from tests.stock.run import Plan, run_all

console = Console(highlight=False, soft_wrap=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.stock", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("install", help="install the clients into AURA_STOCK_DIR or the user's cache")
    run = commands.add_parser("run", help="run clients through scenarios against a server with fake engines")
    long = commands.add_parser(LONG, help="a long conversation through the Agents SDK")
    for command in (setup, run, long):
        command.add_argument("--only", action="append", default=[], metavar="NAME", help="a client, or several")
    setup.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for each environment")
    run.add_argument("--scenario", action="append", choices=SCENARIOS, help="all unless named")
    for command in (run, long):
        command.add_argument("--url", default="", help="a server that runs already, with engines of its own")
        command.add_argument("--out", type=Path, help="folder for recordings and logs (default: a temporary one)")
        command.add_argument("--sound", action="store_true", help="keep audio in the recordings")
    run.add_argument("--jobs", type=int, default=3, help="clients at a time")
    long.add_argument("--minutes", type=float, default=30.0)
    long.add_argument("--turns", type=int, default=100)
    long.add_argument("--barges", type=int, help="how many replies are broken into (default: 3 in 10)")
    return parser.parse_args()


def plan_of(chosen: argparse.Namespace) -> Plan:
    """What is asked for."""
    folder = chosen.out or Path(tempfile.mkdtemp(prefix="aura-stock-"))
    if chosen.command == LONG:
        barges = chosen.turns * 3 // 10 if chosen.barges is None else chosen.barges
        return Plan((LONG,), folder, chosen.url, 1, chosen.sound, chosen.turns, barges, chosen.minutes)
    return Plan(tuple(chosen.scenario or SCENARIOS), folder, chosen.url, chosen.jobs, chosen.sound)


async def do_install(chosen: argparse.Namespace) -> int:
    """Install; the exit code."""
    send, receive = trio.open_memory_channel[str](10)
    good = list[bool]()

    async def work() -> None:
        async with send:
            good.append(await install(named(chosen.only), send, chosen.limit))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        async for text in receive:
            console.print(text, markup=False)
    return 0 if all(good) else 1


async def do_run(chosen: argparse.Namespace) -> int:
    """Run; the exit code."""
    plan, clients = plan_of(chosen), named(chosen.only)
    clients = [client for client in clients if set(plan.scenarios) & set(client.scenarios)]
    console.print(f"recordings and logs: {plan.folder}")
    send, receive = trio.open_memory_channel[Outcome](10)
    outcomes = list[Outcome]()

    async def work() -> None:
        async with send:
            outcomes.extend(await run_all(clients, plan, send))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        async for one in receive:
            console.print(f"{one.client} {one.scenario}: {verdict(one)} ({one.seconds:.1f} s)", markup=False)
    show(outcomes)
    failed, skipped = sum(bool(o.failures) for o in outcomes), sum(bool(o.skipped) for o in outcomes)
    console.print(f"{len(outcomes) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or len(outcomes) == skipped else 0


def verdict(outcome: Outcome) -> str:
    """In a word."""
    return "passed" if outcome.passed else f"skipped, {outcome.skipped}" if outcome.skipped else "FAILED"


def show(outcomes: list[Outcome]) -> None:
    """Everything in a table, then what was wrong."""
    table = Table("client", "version", "scenario", "result", "protocol errors", "checks", "events", "seconds", box=None)
    for one in sorted(outcomes, key=lambda o: o.client):
        version, checks, judged = (str(one.facts.get(name, "")) for name in ("version", "checks", "judged"))
        codes = ", ".join(text.split(":")[0] for text in one.errors)
        table.add_row(one.client, version, one.scenario, verdict(one)[:40], codes, checks, judged, f"{one.seconds:.1f}")
    console.print(table)
    for one in outcomes:
        for failure in one.failures:
            console.print(f"✗ {one.client} {one.scenario}: {failure}", markup=False)
        for name, value in one.facts.items() if one.scenario == LONG else ():
            console.print(f"  {name}: {value}", markup=False)


if __name__ == "__main__":
    options = arguments()
    sys.exit(trio.run(do_install if options.command == "install" else do_run, options))
