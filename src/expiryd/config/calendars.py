"""Public holidays by country, from the `holidays` library, which is there only when it is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date


def public_holidays(country: str, subdivision: str, years: Iterable[int]) -> frozenset[date]:
    """The days nobody works in that country (`DE`) and part of it (`BY`); none for no country.

    Raises ValueError for a country or part that is not known, and when the library is not installed.
    """
    if not country:
        return frozenset()
    try:
        from holidays import country_holidays  # noqa: PLC0415  # an extra: loaded when a country is named
    except ImportError:
        raise ValueError("a country needs its holidays: pip install 'expiryd[holidays]'") from None
    try:
        return frozenset(country_holidays(country, subdiv=subdivision or None, years=years))
    except NotImplementedError as error:
        raise ValueError(f'{error}; write ISO codes such as country = "DE" and subdivision = "BY"') from None
