"""The pictures are those of the tables."""

from pathlib import Path

import pytest

from aura.tools.diagrams import draw
from aura.tools.readme import fill

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", draw(ROOT))
def test_diagram_is_fresh(name: str) -> None:
    assert (ROOT / "diagrams" / name).read_text() == draw(ROOT)[name], "run: python -m aura.tools.diagrams"


def test_no_diagram_is_left_over() -> None:
    assert {path.name for path in (ROOT / "diagrams").iterdir()} == set(draw(ROOT))


def test_the_generated_parts_of_the_readme_are_fresh() -> None:
    text = (ROOT / "README.md").read_text()

    assert fill(text, ROOT) == text, "run: python -m aura.tools.readme"
