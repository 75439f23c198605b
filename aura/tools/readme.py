"""Fills the generated parts of README.md: `python -m aura.tools.readme [FOLDER]`; a test fails when they are stale."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from aura import config
from aura.tools.diagrams import draw

PART = re.compile(r"<!-- (?P<name>\w+) -->\n(?:.*?<!-- /(?P=name) -->\n)?", re.DOTALL)


def settings_table() -> str:
    """Every section with its keys, defaults and meanings."""
    meanings = config.meanings()
    parts = []
    for section in config.SECTIONS:
        rows = [s for s in config.settings().values() if s.section == section]
        head = f"<details><summary><code>[{section}]</code> {summary(section)}</summary>\n"
        lines = [head, "| key | default | meaning |", "|---|---|---|"]
        lines += [f"| `{s.name}` | {shown(s.default)} | {meanings[f'{section}.{s.name}']} |" for s in rows]
        parts.append("\n".join([*lines, "\n</details>"]).replace("\n\n\n", "\n\n"))
    return "\n".join(parts)


def summary(section: str) -> str:
    """The first sentence of what a section is for."""
    return (config.section_type(section).__doc__ or "").strip().split("\n")[0]


def shown(default: object) -> str:
    """A default as it would be written in aura.toml, shortened."""
    text = str(default).replace("\n", " ").replace("|", "\\|")
    return f"`{text[:60]}…`" if len(text) > 61 else f"`{text}`" if text else ""


def fill(text: str, root: Path) -> str:
    """The README with all generated parts as they should be."""
    drawn = {name.removesuffix(".mmd"): f"```mermaid\n{code}```" for name, code in draw(root).items()}
    parts = {**drawn, "settings": settings_table()}

    def part(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in parts:
            return match[0]
        return f"<!-- {name} -->\n{parts[name]}\n<!-- /{name} -->\n"

    return PART.sub(part, text)


def main(root: Path) -> None:
    """Rewrite the README in this folder."""
    readme = root / "README.md"
    readme.write_text(fill(readme.read_text(), root))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
