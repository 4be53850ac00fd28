"""Every notifier has a page whose example is valid and which names every key."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[3] / "docs" / "notifiers"
PLUGINS = {point.name: point for point in entry_points(group="expiryd.notifiers")}


@pytest.mark.parametrize("name", sorted(PLUGINS))
def test_the_example_is_valid_and_every_key_is_explained(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (written,) = tomllib.loads(example)["notifiers"].values()
    model = PLUGINS[name].load()
    assert model.model_validate(written).type == name
    for key in set(model.model_fields) - {"type"}:
        assert f"`{key}`" in page, key
