"""What options of ``orbdens data`` hold as text: lists and pairs of names and values."""

from __future__ import annotations

import re

from orbdens.errors import UserError


def parse_splits(text: str) -> dict[str, float]:
    """Shares of splits from ``train=0.8,test=0.2``.

    Raises:
        UserError: not of that form, or the shares do not add up to 1.
    """
    pairs = _pairs(text, "splits such as train=0.8,test=0.2")
    try:
        shares = {name: float(share) for name, share in pairs.items()}
    except ValueError:
        raise UserError(f"expected splits such as train=0.8,test=0.2, but got '{text}'") from None
    if min(shares.values(), default=0) < 0 or not abs(sum(shares.values()) - 1) <= 1e-6:
        raise UserError(f"the shares of the splits '{text}' add up to {sum(shares.values()):g} instead of 1")
    return shares


def parse_level(text: str) -> dict[str, str]:
    """A level of theory from ``xc=PBE,cutoff=400 eV``.

    Raises:
        UserError: the text is of another form.
    """
    return _pairs(text, "a level of theory as xc=PBE,cutoff=400 eV")


def parse_valence(text: str) -> dict[str, int]:
    """Valence electrons by element from ``C=4,O=6``.

    Raises:
        UserError: the text is of another form, or names no element.
    """
    known: dict[str, int] = {}
    for symbol, number in _pairs(text, "valence electrons as C=4,O=6").items():
        if not _is_element(symbol) or not number.isdecimal():
            raise UserError(f"expected valence electrons as C=4,O=6, but got '{symbol}={number}'")
        known[symbol] = int(number)
    return known


def parse_elements(text: str) -> tuple[str, ...]:
    """Element symbols from ``C,O,H6``: six times H in the end.

    Raises:
        UserError: the text is of another form, or names no element.
    """
    symbols: list[str] = []
    for part in _parts(text):
        match = re.fullmatch(r"([A-Z][a-z]?)(\d{0,5})", part)
        if match is None or not _is_element(match[1]):
            raise UserError(f"expected elements as C,O,H or C2,O,H6, but got '{part}'")
        symbols += [match[1]] * int(match[2] or 1)
    return tuple(symbols)


def parse_charges(text: str) -> tuple[int, ...]:
    """Charges in e from ``-1,0,1``.

    Raises:
        UserError: the text is of another form.
    """
    try:
        charges = tuple(int(part) for part in _parts(text))
    except ValueError:
        charges = ()
    if not charges:
        raise UserError(f"expected charges as -1,0,1, but got '{text}'")
    return charges


def parse_range(text: str) -> tuple[float, float]:
    """The ends of a range from ``0.92,1.10``.

    Raises:
        UserError: the text is of another form.
    """
    try:
        low, high = (float(part) for part in _parts(text))
    except ValueError:
        raise UserError(f"expected a range as 0.92,1.10, but got '{text}'") from None
    return low, high


def _pairs(text: str, example: str) -> dict[str, str]:
    """Names and values from ``name=value,name=value``, none of them empty and no name twice."""
    pairs: dict[str, str] = {}
    for part in _parts(text):
        name, _, value = (word.strip() for word in part.partition("="))
        if not name or not value or name in pairs:
            raise UserError(f"expected {example}, but got '{part}'")
        pairs[name] = value
    return pairs


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_element(symbol: str) -> bool:
    from ase.data import atomic_numbers

    return symbol in atomic_numbers and symbol != "X"
