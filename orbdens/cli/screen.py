"""What verbs show on a terminal: tables."""

from __future__ import annotations

from rich.box import Box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from orbdens.evaluation.tables import Table

stdout = Console(highlight=False, markup=False)
stderr = Console(stderr=True, highlight=False, markup=False)

HEAD_RULE = Box("    \n    \n ━━ \n    \n    \n    \n    \n    \n")


def show(table: Table) -> None:
    """Print a table with its title above and its notes below."""
    drawn = RichTable(
        title=Text(table.title, style="bold"), title_justify="left", box=HEAD_RULE, show_edge=False, padding=0
    )
    needed = 0
    for index, column in enumerate(table.columns):
        longest = max(len(text) for text in [*column.split(), *(row[index] for row in table.rows)])
        drawn.add_column(Text(column), justify="right" if index else "left", width=longest)
        needed += longest + 1
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    # A terminal that is too narrow wraps lines rather than lose digits.
    Console(highlight=False, width=max(stdout.width, needed)).print(drawn)
    stdout.print(table.notes, style="dim")
