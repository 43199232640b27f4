"""The colours of plots: CSS variables on a page, which sets its light, dark and print colours; fixed in a PNG."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours by role. `lean` is the diverging scale for bias, from far too low to far too high."""

    ink: str
    muted: str
    line: str
    paper: str
    accent: str
    second: str
    lean: tuple[str, ...]
    background: str
    font: str
    width: int | str


PAGE = Theme(
    ink="var(--ink)",
    muted="var(--muted)",
    line="var(--line)",
    paper="var(--paper)",
    accent="var(--accent)",
    second="var(--second)",
    lean=tuple(f"var(--lean-{i})" for i in range(7)),
    background="transparent",
    font="system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif",
    width="container",
)
"""The theme of a page: the colours are CSS variables, see `page.css`."""

PRINT = Theme(
    ink="#23201c",
    muted="#6b645b",
    line="#ddd7cd",
    paper="#fffdf9",
    accent="#a8481c",
    second="#20677a",
    lean=("#2f6f86", "#7fb0bf", "#cfe1e5", "#f1ede6", "#f5d9c4", "#e0a078", "#a8481c"),
    background="#fffdf9",
    font="sans-serif",
    width=760,
)
"""The theme of PNG files."""
