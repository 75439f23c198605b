"""The rules of the house that no other tool checks."""

from __future__ import annotations

import ast
import re
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from aura import config
from tests.conftest import FairStallWatch

ROOT = Path(__file__).resolve().parents[1]
AURA = sorted((ROOT / "aura").rglob("*.py"))
CODE = [*AURA, *sorted((ROOT / "tests").rglob("*.py"))]
TEXTS = [
    path
    for top in ("aura", "tests", "diagrams", ".ci", "README.md", "pyproject.toml")
    for path in ([ROOT / top] if (ROOT / top).is_file() else (ROOT / top).rglob("*"))
    if path.suffix in (".py", ".md", ".toml", ".js", ".html", ".css", ".mmd", ".dot", ".sh", "") and path.is_file()
]
TOP_LEVEL = {"aura", "tests", "diagrams", "README.md", "LICENSE", "pyproject.toml", ".gitignore", ".ci"}
FILE_LINES, FUNCTION_LINES, ATTRIBUTES = 400, 60, 12

FORBIDDEN_CALLS = {
    "print": "the command line uses rich, everything else the log",
    "time.sleep": "it blocks the event loop",
    "asyncio.run": "AURA runs on Trio",
}
FORBIDDEN_TEXTS = {
    "a path of one machine": re.compile(r"(?<![\w.])/(?:work|root|farm|home/\w+)/"),
    "a private address": re.compile(r"\b(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+\b"),
    "a type comment without its reason": re.compile(r"# type: [i]gnore(?!\[)"),
    "unfinished work": re.compile(r"\b(?:[T]ODO|[F]IXME|[N]otImplementedError)\b"),
}


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def place(path: Path, line: int = 1) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def self_attributes(body: ast.ClassDef) -> set[str]:
    """Names that the methods of a class set on `self`."""
    return {
        node.attr
        for node in ast.walk(body)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def test_files_are_short():
    long = {place(path): lines for path in CODE if (lines := len(path.read_text().splitlines())) > FILE_LINES}
    assert long == {}


def test_functions_fit_on_a_screen():
    long = {
        place(path, node.lineno): node.name
        for path in CODE
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES
    }
    assert long == {}


def test_classes_hold_little():
    big = {
        place(path, node.lineno): len(self_attributes(node))
        for path in CODE
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef) and len(self_attributes(node)) > ATTRIBUTES
    }
    assert big == {}


def test_nothing_forbidden_is_called():
    found = [
        f"{place(path, node.lineno)} {name}: {FORBIDDEN_CALLS[name]}"
        for path in AURA
        for name, node in calls(parse(path))
        if name in FORBIDDEN_CALLS
    ]
    assert found == []


def test_asyncio_is_never_imported():
    imports = (ast.Import, ast.ImportFrom)
    found = [
        place(path, node.lineno)
        for path in CODE
        for node in ast.walk(parse(path))
        if isinstance(node, imports) and re.search(r"\basyncio\b", ast.unparse(node))
    ]
    assert found == []


def test_every_channel_is_bounded():
    found = [
        place(path, node.lineno)
        for path in AURA
        for name, node in calls(parse(path))
        if name.endswith("open_memory_channel") and re.search(r"\binf\b", ast.unparse(node))
    ]
    assert found == []


@pytest.mark.parametrize("what", FORBIDDEN_TEXTS)
def test_no_text_holds(what):
    found = [
        place(path, number)
        for path in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if FORBIDDEN_TEXTS[what].search(line)
    ]
    assert found == []


def test_the_top_level_holds_only_what_belongs_there():
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    assert {line.partition("/")[0] for line in listing.stdout.splitlines()} - TOP_LEVEL == set()


def test_the_environment_is_read_in_one_place_only():
    names = {"os.environ", "os.getenv", "os.environb"}
    found = {
        place(path)
        for path in AURA
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in names
    }
    handed_on = place(ROOT / "aura" / "tools" / "child.py")  # starts a server as a child process
    assert found <= {place(ROOT / "aura" / "config.py"), handed_on}


def test_the_readme_mentions_every_section_of_the_settings():
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("there is no README.md")
    text = readme.read_text(encoding="utf-8")
    assert [section for section in config.SECTIONS if not re.search(rf"\[{section}\]|`{section}[.`]", text)] == []


async def test_a_task_that_keeps_the_event_loop_is_noticed():
    watch = FairStallWatch()
    trio.lowlevel.add_instrument(watch)
    await trio.lowlevel.checkpoint()
    until = time.thread_time() + 0.015
    while time.thread_time() < until:
        pass
    await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(watch)
    assert len(watch.stalls) == 1


async def test_waiting_is_no_stall(no_stalls):
    await trio.sleep(0.03)
