"""The demo's picture in a terminal: the last parts, the counts, the latencies."""

from collections.abc import Mapping
from io import StringIO
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from appliance.demo.line import DemoLine, Row

COLOURS = {"ACCEPT": "green", "REJECT": "red", "REVIEW": "yellow", "FAULT": "magenta"}
LAST_PARTS = 12
SVG_COLUMNS = 100


class Screen:
    """A live table while the line runs; on a pipe it stays silent until the summary."""

    def __init__(self, console: Console, line: DemoLine, parts: int | None) -> None:
        """Show this line; parts is how many will come, None without end."""
        self._console = console
        self._line = line
        self._parts = parts
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "Screen":
        """Take the terminal."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()

    def refresh(self) -> None:
        """Draw the present state."""
        if self._live is not None:
            self._live.update(picture(self._line.rows(LAST_PARTS), self._line.counts(), self._parts), refresh=True)

    def svg(self) -> str:
        """Return the present state as a picture."""
        console = Console(record=True, width=SVG_COLUMNS, file=StringIO(), force_terminal=True)
        console.print(picture(self._line.rows(LAST_PARTS), self._line.counts(), self._parts))
        return console.export_svg(title="appliance demo")

    def summary(self, document: Mapping[str, Any]) -> None:
        """Print the run's figures."""
        self._console.print(latency_table(document))
        self._console.print(headline(document, None))
        quality = document["quality"]
        if quality:
            self._console.print(
                f"truth: {quality['defective']} defective, {quality['escapes']} of them escaped; "
                f"{quality['good']} good, {quality['overkill']} of them held back"
            )
        lost = {name: count for name, count in document["losses"].items() if count}
        self._console.print(f"losses: {lost or 'none'}")


def picture(rows: list[Row], counts: Mapping[str, Any], parts: int | None) -> Group:
    """Draw the last parts over the counts."""
    table = Table(expand=True, title="Parts at the line", title_justify="left")
    for name, justify in (("seq", "right"), ("part", "left"), ("verdict", "left"), ("line does", "left"),
                          ("why", "left"), ("truth", "left"), ("answer after", "right")):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        truth = {None: "", True: "defective", False: "good"}[row.is_defective]
        answer = "" if row.round_trip_ms is None else f"{row.round_trip_ms:.1f} ms"
        verdict = Text(row.verdict, style=f"bold {COLOURS[row.verdict]}")
        table.add_row(str(row.seq), row.part_id, verdict, row.line_does, row.why, truth, answer)
    return Group(table, Panel(headline(counts, parts)))


def headline(counts: Mapping[str, Any], parts: int | None) -> Text:
    """Return triggers and verdicts on one line."""
    text = Text(f"triggers {counts['triggers']}" + (f" of {parts}" if parts else ""))
    for verdict, count in counts["verdicts"].items():
        text.append(f"   {verdict} ")
        text.append(str(count), style=f"bold {COLOURS[verdict]}")
    return text


def latency_table(document: Mapping[str, Any]) -> Table:
    """Return milliseconds by stage."""
    table = Table(title="Milliseconds", title_justify="left")
    table.add_column("stage")
    for rank in ("p50", "p95", "p99", "max"):
        table.add_column(rank, justify="right")
    for stage, figures in document["latency_ms"].items():
        table.add_row(stage, *(f"{figures[rank]:.2f}" for rank in ("p50", "p95", "p99", "max")))
    return table
