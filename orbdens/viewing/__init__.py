"""Densities to look at: a page that turns, or a picture; in a notebook ``orbdens.view(density)`` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from orbdens.errors import UserError
from orbdens.files import written_whole

if TYPE_CHECKING:
    from orbdens.density import Density
    from orbdens.viewing.scene import Scene, Show

ENDINGS = (".html", ".png")


@dataclass(frozen=True)
class View:
    """A density to look at.

    Attributes:
        scene: what there is to see.
        show: what of it is seen first.
    """

    scene: Scene
    show: Show = "density"

    def html(self) -> str:
        """The page, which needs no network."""
        from orbdens.viewing.page import html

        return html(self.scene, self.show)

    def png(self) -> bytes:
        """The picture, as a PNG file."""
        from orbdens.viewing.picture import png

        return png(self.scene, self.show)

    def save(self, path: str | Path) -> None:
        """Write the page (.html) or the picture (.png), whole or not at all.

        Raises:
            UserError: the ending is another one, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in ENDINGS:
            raise UserError(f"expected a file that ends in {' or '.join(ENDINGS)}, but got {path}")
        content = self.png() if path.suffix.lower() == ".png" else self.html().encode()
        with written_whole(path) as temporary:
            temporary.write_bytes(content)

    def _repr_html_(self) -> str:
        """What notebooks show."""
        frame = "width: 100%; height: 760px; border: 0"
        return f'<iframe srcdoc="{escape(self.html(), quote=True)}" style="{frame}"></iframe>'


def view(density: Density, show: Show = "density", name: str | None = None, reference: Density | None = None) -> View:
    """A density to look at, in a notebook or by ``save`` in a file.

    Args:
        density: predicted, of a record, or read from a file.
        show: what is seen first: density, potential, deformation (less free atoms) or difference (less the reference).
        name: its title; None takes the formula.
        reference: another density of the same atoms.

    Raises:
        UserError: there is no such thing to show, the values are no density, or the reference is of other atoms.
    """
    from orbdens.viewing.scene import Scene

    scene = Scene.of(density, name or density.structure.formula, reference)
    scene.check(show)
    return View(scene, show)
