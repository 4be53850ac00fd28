"""Plugins are found by name, imported only when named, and refused with words that say what to do."""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Literal

import pytest

from expiryd.api import Collector, CollectorConfig, Tools
from expiryd.registry import COLLECTORS, PluginError, Registry, discover


class GoodConfig(CollectorConfig):
    type: Literal["good"]

    def build(self, tools: Tools) -> Collector:
        raise NotImplementedError


class UntypedConfig(CollectorConfig):
    def build(self, tools: Tools) -> Collector:
        raise NotImplementedError


class Stranger:
    pass


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, COLLECTORS)


def installed(tmp_path: Path, distribution: str, entry: str, requires: str = "") -> list[EntryPoint]:
    """The entry points of a distribution as an installer leaves it on disk."""
    info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n{requires}\n")
    (info / "entry_points.txt").write_text(f"[{COLLECTORS}]\n{entry}\n")
    return list(Distribution.at(info).entry_points)


def registry(*points: EntryPoint) -> Registry[CollectorConfig]:
    return Registry(CollectorConfig, points)


def test_a_plugin_is_loaded_by_its_name() -> None:
    assert registry(point("good", f"{__name__}:GoodConfig")).load("good") is GoodConfig


def test_what_is_not_named_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "explosive_plugin.py").write_text("raise RuntimeError('boom')")
    monkeypatch.syspath_prepend(tmp_path)
    found = registry(point("good", f"{__name__}:GoodConfig"), point("bad", "explosive_plugin:X"))
    found.load("good")
    assert found.names == ("bad", "good")
    assert "explosive_plugin" not in sys.modules


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("def broken(:", "SyntaxError"),
        ("import this_is_not_installed_", "needs the module this_is_not_installed_"),
        ("X = 1", "AttributeError"),
        ("from os import no_such_name", "ImportError"),
    ],
)
def test_a_broken_plugin_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    (tmp_path / "broken_plugin_.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_plugin_", raising=False)
    with pytest.raises(PluginError, match=reason) as caught:
        registry(point("bad", "broken_plugin_:Missing")).load("bad")
    assert "broken_plugin_:Missing" in str(caught.value)


def test_an_unknown_type_lists_the_installed_ones_and_the_nearest_without_repeating_it() -> None:
    found = registry(point("x509-file", "a:B"), point("tls", "a:C"))
    with pytest.raises(PluginError) as caught:
        found.load("x509file")
    assert str(caught.value) == "no plugin of this type is installed; did you mean x509-file? installed: tls, x509-file"


def test_two_distributions_with_one_name_are_both_named_and_harmless_until_asked_for(tmp_path: Path) -> None:
    points = [
        *installed(tmp_path, "first-dist", f"twice = {__name__}:GoodConfig"),
        *installed(tmp_path, "second-dist", "twice = elsewhere:Config"),
    ]
    found = registry(*points, point("good", f"{__name__}:GoodConfig"))
    found.load("good")
    with pytest.raises(PluginError, match=r"first-dist \(.*\) and second-dist \(elsewhere:Config\); uninstall"):
        found.load("twice")


@pytest.mark.parametrize(
    ("entry", "requires"),
    [
        ("needy = needy_plugin_:X [sea]", ""),
        ("needy = needy_plugin_:X", "Provides-Extra: sea\nRequires-Dist: not-there-lib_>=1.0; extra == 'sea'"),
    ],
)
def test_a_missing_extra_names_the_pip_install_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, requires: str
) -> None:
    (tmp_path / "needy_plugin_.py").write_text("import not_there_lib_.inner")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"needs the module not_there_lib_: pip install 'needy-dist\[sea\]'"):
        registry(*installed(tmp_path, "needy-dist", entry, requires)).load("needy")


def test_what_is_not_a_config_of_its_own_name_is_refused() -> None:
    with pytest.raises(PluginError, match="is not a subclass of CollectorConfig"):
        registry(point("odd", f"{__name__}:Stranger")).load("odd")
    with pytest.raises(PluginError, match=r'must declare `type: Literal\["other"\]`'):
        registry(point("other", f"{__name__}:GoodConfig")).load("other")
    with pytest.raises(PluginError, match="must declare"):
        registry(point("untyped", f"{__name__}:UntypedConfig")).load("untyped")


def test_the_built_in_plugins_are_found() -> None:
    collectors, notifiers = discover()
    assert {"env-file", "inventory", "tls", "x509-file"} <= set(collectors.names)
    assert {"email", "file", "slack"} <= set(notifiers.names)
