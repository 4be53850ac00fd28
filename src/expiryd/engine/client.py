"""The HTTP client that plugins are lent: for the few configured API endpoints, not for bulk probes."""

from __future__ import annotations

import aiohttp
from aiohttp.resolver import ThreadedResolver

from expiryd import __version__


def open_client() -> aiohttp.ClientSession:
    """Resolves names as the operating system does; every request has an end."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=ThreadedResolver(), limit=50, limit_per_host=10),
        timeout=aiohttp.ClientTimeout(total=120, connect=15),
        headers={"User-Agent": f"expiryd/{__version__}"},
    )
