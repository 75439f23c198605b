"""HTML and SVG from Python in which nothing can be left unescaped, and how numbers are written in the report."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Union

Inner = Union[str, "Iterable[Inner]"]
_VOID = {"path", "rect", "circle", "line", "br", "input"}


class Html(str):
    """Text that is HTML already; every other text is escaped."""

    __slots__ = ()


def h(name: str, /, *inner: Inner, **attributes: str | float | bool | None) -> Html:
    """An element. `class_` is written class, `data_tip` data-tip; attributes that are None or False are left out."""
    shown = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if name in _VOID:
        return Html(f"<{name}{shown}/>")
    return Html(f"<{name}{shown}>{join(inner)}</{name}>")


def join(inner: Inner) -> Html:
    """Texts (escaped) and elements, one after the other."""
    if isinstance(inner, Html):
        return inner
    if isinstance(inner, str):
        return Html(html.escape(inner, quote=False))
    return Html("".join(map(join, inner)))


def _attribute(name: str, value: str | float | bool) -> str:
    name = name.rstrip("_").replace("_", "-")
    if isinstance(value, bool):
        return f" {name}" if value else ""
    text = value if isinstance(value, str) else number(value)
    return f' {name}="{html.escape(text)}"'


def number(value: float) -> str:
    """As short as a drawing needs it."""
    return f"{value:.1f}".removesuffix(".0")


# ---- for people


def count(value: int) -> str:
    """1,234"""
    return f"{value:,}"


def ms(value: float | None) -> str:
    """Milliseconds; a dash where there are none."""
    return "–" if value is None else f"{value:,.0f} ms"


def clock(seconds: float) -> str:
    """A length: 0:07, 12:05, 1:02:03."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def length(seconds: float) -> str:
    """A length in words: 24 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def when(epoch_s: float | None, form: str = "%-d %b %Y, %H:%M:%S") -> str:
    """A point in time (UTC); a dash where it is not known."""
    if epoch_s is None:
        return "–"
    try:
        return datetime.fromtimestamp(epoch_s, UTC).strftime(form)
    except (OverflowError, OSError, ValueError):
        return "–"


def cut(text: str, chars: int) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


# ---- pieces of the page


def card(title: str, *inner: Inner, note: str = "", ident: str | None = None, wide: bool = False) -> Html:
    """A framed part of the page."""
    head = h("header", h("h2", title), h("p", note) if note else "")
    return h("section", head, *inner, class_="card wide" if wide else "card", id=ident)


def empty(text: str) -> Html:
    """Stands where there is nothing to show."""
    return h("p", text, class_="empty")


def table(heads: Sequence[str], rows: Iterable[Sequence[Inner]], left: int = 1) -> Html:
    """A table whose first `left` columns are text and the others numbers."""

    def cells(name: str, row: Sequence[Inner]) -> list[Html]:
        return [h(name, cell, class_=None if i < left else "n") for i, cell in enumerate(row)]

    head = h("thead", h("tr", cells("th", heads)))
    return h("div", h("table", head, h("tbody", [h("tr", cells("td", row)) for row in rows])), class_="scroll")
