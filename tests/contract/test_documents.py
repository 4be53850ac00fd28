"""The documents say what is there, and their examples work."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from expiryd.api import CollectorConfig, EventKind, ItemConfig, NotifierConfig
from expiryd.cli.main import cli
from expiryd.config.load import load
from expiryd.config.model import Config
from expiryd.engine.metrics import Metrics
from expiryd.registry import discover

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def text_of(*pages: str) -> str:
    return "\n".join((DOCS / page).read_text() for page in pages)


def plugin_page(group: str, name: str) -> str:
    return (DOCS / group / f"{name}.md").read_text()


def keys_of(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    dead = [
        target
        for target, _ in LINK.findall(page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_configuration_in_a_page_loads(page: Path, tmp_path: Path) -> None:
    collectors, notifiers = discover()
    for number, (language, block) in enumerate(FENCE.findall(page.read_text())):
        if language != "toml":
            continue
        if not (set(tomllib.loads(block)) <= set(Config.model_fields)):
            continue  # the TOML of something else, such as an entry point or an inventory
        config = tmp_path / f"{number}.toml"
        config.write_text(block)
        load([config], environ={}, collectors=collectors, notifiers=notifiers)


def test_every_configuration_key_is_documented() -> None:
    page = text_of("configuration.md")
    models: list[type[BaseModel]] = [Config, CollectorConfig, NotifierConfig, ItemConfig]
    sections = [field.annotation for field in Config.model_fields.values()]
    models += [section for section in sections if isinstance(section, type) and issubclass(section, BaseModel)]
    missing = {f"{model.__name__}.{key}" for model in models for key in keys_of(model) if f"`{key}`" not in page}
    assert missing == set()


@pytest.mark.parametrize("group", ["collectors", "notifiers"])
def test_every_plugin_has_a_page_that_names_every_key_of_its_own(group: str) -> None:
    base = keys_of(CollectorConfig if group == "collectors" else NotifierConfig)
    missing = set()
    for point in entry_points(group=f"expiryd.{group}"):
        if point.dist is None or point.dist.name != "expiryd":
            continue
        page = plugin_page(group, point.name)
        missing |= {f"{point.name}.{key}" for key in keys_of(point.load()) - base if f"`{key}`" not in page}
    assert missing == set()


def test_every_finding_code_is_documented() -> None:
    everything = text_of("alerting.md", *(f"collectors/{page.name}" for page in (DOCS / "collectors").glob("*.md")))
    codes = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant):
                    codes.add(str(first.value))
    assert len(codes) > 10
    assert {code for code in codes if f"`{code}`" not in everything} == set()


def test_every_event_kind_is_documented() -> None:
    page = text_of("alerting.md")
    assert {kind.value for kind in EventKind if f"`{kind.value}`" not in page} == set()


def test_every_verb_and_flag_is_documented() -> None:
    page = text_of("cli.md")
    missing = set()
    for name, command in commands(cli):
        if f"`{name}" not in page and f"expiryd {name}" not in page:
            missing.add(name)
        for option in command.params:
            missing |= {f"{name} {flag}" for flag in option.opts if flag.startswith("--") and flag not in page}
    assert missing == set()


def test_every_metric_and_endpoint_is_documented() -> None:
    page = text_of("http.md")
    source = "\n".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
    exposing = [ROOT / "src/expiryd" / name for name in ("engine/exposition.py", "web/prometheus.py")]
    metrics = set(re.findall(r'"(expiryd_[a-z_]+)"', "\n".join(file.read_text() for file in exposing)))
    metrics |= {family.name for family in Metrics("1").registry.collect() if family.name.startswith("expiryd_")}
    assert len(metrics) > 15
    assert {metric for metric in metrics if metric not in page} == set()
    routes = set(re.findall(r'web\.(?:get|post|delete|put)\("([^"]+)"', source))
    assert {route for route in routes if route not in page} == set()


def test_the_readme_names_commands_that_exist() -> None:
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text())) <= made


def test_nothing_committed_holds_an_address_of_a_registry_or_of_a_machine() -> None:
    names = ("py" + "pi.org", "pythonhos" + "ted", "registry.np" + "mjs", "deb.deb" + "ian.org", "/wo" + "rk/main")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    guilty = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        if file.is_file()
        for name in names
        if name.encode() in file.read_bytes()
    ]
    assert guilty == []
