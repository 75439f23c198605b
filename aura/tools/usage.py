"""What the processes of a server use: read from Linux' /proc, or from the server's own `/metrics`."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """CPU seconds so far and resident memory of a process and all its descendants."""

    cpu_s: float = 0.0
    rss_bytes: int = 0
    processes: int = 0


def process_tree(pid: int, proc: Path = Path("/proc")) -> Usage:
    """From Linux' /proc; what has ended meanwhile is left out."""
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    todo, cpu_s, rss, count = [pid], 0.0, 0, 0
    while todo:
        one = proc / str(todo.pop())
        try:
            fields = (one / "stat").read_text().rpartition(")")[2].split()
            for task in (one / "task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        except OSError:
            continue
        cpu_s += (int(fields[11]) + int(fields[12])) / tick
        rss += int(fields[21]) * page
        count += 1
    return Usage(round(cpu_s, 3), rss, count)


def listening_pid(port: int, proc: Path = Path("/proc")) -> int | None:
    """The process of this user that listens on a TCP port of this machine, as far as /proc shows it."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        rows = [line.split() for line in lines]
        inodes |= {row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in proc.iterdir() if wanted else ():
        if process.name.isdigit() and _holds(process, wanted):
            return int(process.name)
    return None


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        return any(str(link.readlink()) in sockets for link in (process / "fd").iterdir())
    except OSError:  # another user's, or gone
        return False


def scraped(page: str) -> Usage | None:
    """The same from the text of `/metrics`: the main process alone."""
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("process_"))
    try:
        return Usage(float(values["process_cpu_seconds_total"]), int(float(values["process_resident_memory_bytes"])), 1)
    except (KeyError, ValueError):
        return None
