"""A real Prometheus scrapes a running daemon in both formats, and promtool finds nothing to say about what it reads."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from .processes import REPOSITORY, Processes, free_port, program, until

pytestmark = pytest.mark.real

TOKEN = "9b1f-token-of-prometheus"
DAEMON = """
[daemon]
state_dir = "{home}/state"
[http]
listen = "127.0.0.1:{port}"
[http.tokens.prometheus]
hash = "sha256:{digest}"
[collectors.typed]
type = "inventory"
path = "{home}/typed.json"
category = "cicd"
owner = "platform"
[notifiers.files]
type = "file"
directory = "{home}/out"
"""
ODD = 'odd "name" \\ {of} ü ☃ \\n'
ITEMS = {"expired": "2020-01-01T00:00:00Z", "far": "2099-12-31T00:00:00Z", "forever": "never", ODD: "2030-06-01"}
# What asks for text through it gets text: this Prometheus itself always asks for OpenMetrics.
NGINX = """
daemon off; pid {home}/nginx.pid; error_log {home}/error.log; worker_processes 1;
events {{ }}
http {{
  access_log off; client_body_temp_path {home}/t; proxy_temp_path {home}/t; fastcgi_temp_path {home}/t;
  uwsgi_temp_path {home}/t; scgi_temp_path {home}/t;
  server {{ listen 127.0.0.1:{proxy}; location / {{
    proxy_pass http://127.0.0.1:{port}; proxy_set_header Accept "text/plain;version=0.0.4";
    proxy_set_header X-Forwarded-For $remote_addr; }} }}
}}
"""
PROMETHEUS = """
global: {{ scrape_interval: 1s }}
scrape_configs:
  - job_name: openmetrics
    authorization: {{ credentials: {token} }}
    static_configs: [{{ targets: ["127.0.0.1:{port}"] }}]
  - job_name: text
    authorization: {{ credentials: {token} }}
    static_configs: [{{ targets: ["127.0.0.1:{proxy}"] }}]
"""
FORMATS = {"text": "text/plain; version=0.0.4", "openmetrics": "application/openmetrics-text; version=1.0.0"}


@dataclass(frozen=True, slots=True)
class Scene:
    """A daemon, and a Prometheus that has scraped it."""

    daemon: str
    prometheus: str

    def metrics(self, accept: str) -> str:
        headers = {"Accept": accept, "Authorization": f"Bearer {TOKEN}"}
        with urllib.request.urlopen(urllib.request.Request(f"{self.daemon}/metrics", headers=headers)) as answer:
            text: str = answer.read().decode()
            return text

    def ask(self, expression: str) -> dict[str, float]:
        """The value of every series that the expression finds, by its item."""
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/query?query={quote(expression)}") as answer:
            found = json.load(answer)["data"]["result"]
        return {series["metric"].get("item", ""): float(series["value"][1]) for series in found}

    def targets(self) -> list[dict[str, Any]]:
        """Empty while Prometheus starts, when it listens already but answers 503."""
        try:
            with urllib.request.urlopen(f"{self.prometheus}/api/v1/targets") as answer:
                active: list[dict[str, Any]] = json.load(answer)["data"]["activeTargets"]
                return active
        except urllib.error.HTTPError:
            return []


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home = tmp_path_factory.mktemp("prometheus")
    port, proxy, server = free_port(), free_port(), free_port()
    names = {
        "home": home,
        "port": port,
        "proxy": proxy,
        "token": TOKEN,
        "digest": hashlib.sha256(TOKEN.encode()).hexdigest(),
    }
    (home / "typed.json").write_text(json.dumps([{"name": n, "expires": at} for n, at in ITEMS.items()]))
    for name, text in (("expiryd.toml", DAEMON), ("nginx.conf", NGINX), ("prometheus.yml", PROMETHEUS)):
        (home / name).write_text(text.format(**names))
    found = Scene(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{server}")
    with Processes(home) as processes:
        expiryd = Path(sys.executable).with_name("expiryd")
        processes.start(expiryd, "-c", home / "expiryd.toml", "run", "--immediate", port=port)
        processes.start(program("nginx"), "-p", home, "-c", home / "nginx.conf", port=proxy)
        until(lambda: "far" in found.metrics(FORMATS["text"]), within=20, waiting_for="the first look")
        processes.start(
            program("prometheus"),
            f"--config.file={home / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'data'}",
            f"--web.listen-address=127.0.0.1:{server}",
            port=server,
        )
        until(
            lambda: all(target["health"] != "unknown" for target in found.targets() or [{"health": "unknown"}]),
            within=20,
            waiting_for="both scrapes",
        )
        yield found


def test_prometheus_takes_every_scrape(scene: Scene) -> None:
    assert {target["labels"]["job"]: (target["health"], target["lastError"]) for target in scene.targets()} == {
        "openmetrics": ("up", ""),
        "text": ("up", ""),
    }


@pytest.mark.parametrize("job", FORMATS)
def test_prometheus_knows_when_each_item_expires_whatever_it_is_called(scene: Scene, job: str) -> None:
    ends = until(
        lambda: scene.ask(f'expiryd_item_expiry_timestamp_seconds{{job="{job}"}}'), within=20, waiting_for="series"
    )
    assert ends.keys() == ITEMS.keys()
    assert (ends["expired"], ends["forever"]) == (1577836800, float("inf"))
    severities = scene.ask(f'expiryd_item_severity{{job="{job}",item!~".*/typed.json"}}')  # the list is an item too
    assert severities == {"expired": 4, "far": 0, "forever": 0, ODD: 0}
    assert scene.ask(f'expiryd_items{{job="{job}",category="cicd",severity="expired"}}') == {"": 1}
    late = f'expiryd_item_expiry_timestamp_seconds{{job="{job}",owner="platform",basis="typed"}} - time() < 0'
    assert scene.ask(late).keys() == {"expired"}


@pytest.mark.parametrize("media", FORMATS)
def test_promtool_has_nothing_to_say(scene: Scene, media: str) -> None:
    text = scene.metrics(FORMATS[media])
    if media == "openmetrics":  # which promtool does not read: the names and texts are what it judges
        text = re.sub(r"^# (HELP|TYPE) (\S+) ", _named_as_text_does(text), text, flags=re.MULTILINE)
        text = text.removesuffix("# EOF\n")
    command = [program("promtool"), "check", "metrics"]
    checked = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def _named_as_text_does(text: str) -> Any:
    """OpenMetrics names a counter without the `_total` of its samples."""
    counters = set(re.findall(r"^# TYPE (\S+) counter$", text, re.MULTILINE))
    return lambda line: f"# {line[1]} {line[2]}{'_total' if line[2] in counters else ''} "


def test_the_documented_scrape_config_and_rules_are_valid(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs/http.md").read_text()
    scrape, rules = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(scrape.replace("/etc/prometheus/expiryd.token", str(tmp_path / "token")))
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "expiryd.rules.yml").write_text(rules)
    command = [program("promtool"), "check", "config", "--lint-fatal", str(tmp_path / "prometheus.yml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "SUCCESS: 7 rules found" in checked.stdout


def test_every_metric_of_the_documented_rules_exists(scene: Scene) -> None:
    page = (REPOSITORY / "docs/http.md").read_text()
    rules = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    wanted = set(re.findall(r"\bexpiryd_\w+", rules))
    told = set(re.findall(r"^(expiryd_\w+)", scene.metrics(FORMATS["text"]), re.MULTILINE))
    assert wanted <= told
