"""What verbs show on a terminal: tables."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from orbdens.tables import Table

stdout = Console(highlight=False)


def show(table: Table) -> None:
    """Print a table with its title above and its notes below."""
    drawn = RichTable(title=table.title, box=box.SIMPLE_HEAVY, title_justify="left", title_style="bold")
    for index, column in enumerate(table.columns):
        drawn.add_column(column, justify="right" if index else "left", no_wrap=index == 0)
    for row in table.rows:
        drawn.add_row(*row)
    stdout.print(drawn)
    stdout.print(table.notes, style="dim")
