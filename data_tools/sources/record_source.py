"""What an importer opens: records that are not read yet, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from data_tools.choices import Precision
from data_tools.stores.split_files import KeysOrPlaces
from orbdens.progress import Progress
from orbdens.store import Manifest, Record


@dataclass(frozen=True)
class Item:
    """A record that is not read yet.

    Attributes:
        key: its name in the store.
        place: the file, archive member or frame it comes from, for messages.
        read: makes it; the UserError that it may raise names the place. Of an archive it works only until the next item
            is asked for.
        split: that it belongs to, if the source says so.
    """

    key: str
    place: str
    read: Callable[[], Record]
    split: str | None = None


@dataclass(frozen=True)
class RecordSource:
    """Records one after the other, and what holds for all of them.

    Attributes:
        name: for messages.
        manifest: its ``valence_electrons`` may name more elements than the records have; the store gets theirs. A
            count, splits and the finished marker are set at the end.
        items: in the same order each time.
        count: number of items, where it is known before.
        digest: hashes all that the records are made of, which takes a while; the store's provenance keeps it.
        megabytes: how much of the source lies behind, and how much there is, where the number is not known.
        splits: what becomes of the records, instead of what the items say.
        identity: entries of the provenance that must be the same to go on with a store.
        dtype: type of the values of grid records.
    """

    name: str
    manifest: Manifest
    items: Iterable[Item]
    count: int | None = None
    digest: Callable[[Progress], str] | None = None
    megabytes: Callable[[], tuple[int, int]] | None = None
    splits: KeysOrPlaces = field(default_factory=dict)
    identity: Sequence[str] = ("source", "options")
    dtype: Precision = "float32"
