"""How hard the property tests look: `--hypothesis-profile=deep` (with `--timeout=0`) goes on for a long time."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("deep", max_examples=4_000, deadline=None)
