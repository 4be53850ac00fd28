"""Files, overlays and variables become one Config, or every error at once without a value that was typed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import field_validator

from expiryd.api import Collector, CollectorConfig, Notifier, NotifierConfig, SecretRef, Severity, Tools
from expiryd.config import Config, ConfigError, default_paths, load, secret_refs
from expiryd.core.cooldown import Fading
from expiryd.registry import Registry

CANARY = "c4n4ry-Pa55word"


class WatchConfig(CollectorConfig):
    type: Literal["watch"]
    path: str | tuple[str, ...] = ()
    ca_file: Path | None = None
    password: SecretRef | None = None
    host: str = ""

    @field_validator("host")
    @classmethod
    def _quotes_its_input(cls, value: str) -> str:
        if " " in value:
            raise ValueError(f"{value!r} is no host, nor is {value.split(maxsplit=1)[0]}")
        return value

    def build(self, tools: Tools) -> Collector:
        raise NotImplementedError


class TellConfig(NotifierConfig):
    type: Literal["tell"]
    webhook_url: SecretRef
    headers: Mapping[str, SecretRef] = {}
    port: int = 25
    security: Literal["starttls", "tls", "none"] = "starttls"
    directory: str = ""
    careless: str = ""

    @field_validator("careless", mode="before")
    @classmethod
    def _takes_the_type_for_granted(cls, value: str) -> str:
        return value.strip()

    def build(self, tools: Tools) -> Notifier:
        raise NotImplementedError


def load_files(paths: list[Path], environ: Mapping[str, str] | None = None) -> Config:
    group = "tests"
    watch = [EntryPoint("watch", f"{__name__}:WatchConfig", group), EntryPoint("broken", "no_such_module_:X", group)]
    tell = [EntryPoint("tell", f"{__name__}:TellConfig", group)]
    return load(
        paths,
        environ=environ or {},
        collectors=Registry(CollectorConfig, watch),
        notifiers=Registry(NotifierConfig, tell),
    )


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def load_text(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    return load_files([write(tmp_path / "expiryd.toml", text)], environ)


def problems(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text, environ)
    assert str(caught.value) == "\n".join(f"{problem.path}: {problem.message}" for problem in caught.value.errors)
    return {problem.path: problem.message for problem in caught.value.errors}


# ── what may be said ──────────────────────────────────────────────────────────────────────────────────


def test_an_empty_file_means_the_documented_defaults(tmp_path: Path) -> None:
    config = load_text(tmp_path, "")
    assert config.daemon.state_dir == Path("/var/lib/expiryd")
    assert config.http.address == ("127.0.0.1", 9783)
    assert config.policy.critical == timedelta(days=7)
    assert config.policy.cooldown == {
        Severity.EXPIRED: timedelta(days=1),
        Severity.CRITICAL: timedelta(days=1),
        Severity.WARNING: timedelta(days=7),
        Severity.INFO: None,
    }
    assert config.collectors == {}


def test_every_section_is_read(tmp_path: Path) -> None:
    config = load_text(
        tmp_path,
        """
        [daemon]
        timezone = "Europe/Berlin"
        drain = "0s"
        retention = { looks = "2w" }
        database = { env = "DSN" }
        [http]
        listen = "[::1]:0"
        [http.tokens.ops]
        hash = "sha256:%s"
        role = "operator"
        [policy]
        critical = "3d"
        cooldown = { warning = "never", critical = "12h" }
        [categories.cicd]
        lifetime = "90d"
        cooldown = { critical = "1h fading" }
        [collectors.ci-tokens]
        type = "watch"
        path = ["/srv/a", "/srv/b"]
        schedule = "@daily"
        [collectors.ci-tokens.items.AAR_TOKEN]
        issued = 2026-09-01
        [notifiers.ops]
        type = "tell"
        webhook_url = { file = "/run/secrets/x" }
        headers = { a = { env = "A" } }
        """
        % ("a" * 64),
    )
    assert str(config.daemon.timezone) == "Europe/Berlin"
    assert config.daemon.drain == timedelta(0)
    assert config.daemon.retention.looks == timedelta(days=14)
    assert config.http.address == ("::1", 0)
    assert config.http.tokens["ops"].role == "operator"
    assert config.policy.cooldown[Severity.WARNING] is None
    assert config.policy.cooldown[Severity.EXPIRED] == timedelta(days=1)
    assert config.categories["cicd"].cooldown == {Severity.CRITICAL: Fading(timedelta(hours=1))}
    assert isinstance(config.collectors["ci-tokens"], WatchConfig)
    assert [place for place, _ in secret_refs(config)] == [
        "daemon.database",
        "notifiers.ops.webhook_url",
        "notifiers.ops.headers.a",
    ]


def test_an_empty_listen_switches_http_off(tmp_path: Path) -> None:
    assert load_text(tmp_path, '[http]\nlisten = ""').http.address is None


def test_relative_paths_are_meant_beside_the_config_file(tmp_path: Path) -> None:
    config = load_text(
        tmp_path / "etc",
        """
        daemon.state_dir = "../var"
        [collectors.a]
        type = "watch"
        path = ["certs/**/*.pem", "/etc/ssl/*.pem", "~/x.pem", ".././../x.json#/a//../b", "..", "./a/"]
        ca_file = "ca.pem"
        password = { file = "pw" }
        labels = { path = "not/a/path" }
        [notifiers.n]
        type = "tell"
        webhook_url = { env = "URL" }
        directory = "out"
        """,
    )
    etc = tmp_path / "etc"
    watch, tell = config.collectors["a"], config.notifiers["n"]
    assert isinstance(watch, WatchConfig)
    assert isinstance(tell, TellConfig)
    assert config.daemon.state_dir == tmp_path / "var"
    assert watch.path == (
        f"{etc}/certs/**/*.pem",
        "/etc/ssl/*.pem",
        "~/x.pem",
        f"{tmp_path.parent}/x.json#/a//../b",
        str(tmp_path),
        f"{etc}/a/",
    )
    assert watch.ca_file == etc / "ca.pem"
    assert watch.password is not None
    assert watch.password.file == etc / "pw"
    assert watch.labels == {"path": "not/a/path"}
    assert tell.directory == f"{etc}/out"


def test_a_config_that_is_a_link_keeps_the_directory_it_was_named_in(tmp_path: Path) -> None:
    write(tmp_path / "v1" / "expiryd.toml", "\ufeffdaemon.state_dir = 'state'")
    (tmp_path / "expiryd.toml").symlink_to(tmp_path / "v1" / "expiryd.toml")
    assert load_files([tmp_path / "v1" / ".." / "expiryd.toml"]).daemon.state_dir == tmp_path / "state"


# ── files, overlays, variables ────────────────────────────────────────────────────────────────────────


def test_later_files_then_conf_d_then_the_overlay_then_variables_win(tmp_path: Path) -> None:
    first = write(tmp_path / "expiryd.toml", 'policy = { critical = "1d", warning = "31d", info = "91d" }')
    second = write(tmp_path / "more.toml", 'policy = { critical = "2d" }\ndaemon.drain = "2s"')
    write(tmp_path / "conf.d" / "20.toml", 'policy = { critical = "3d" }\ndaemon.drain = "20s"')
    write(tmp_path / "conf.d" / "10.toml", 'daemon = { drain = "10s", log_level = "error" }')
    write(tmp_path / "expiryd.prod.toml", 'policy = { critical = "4d" }')
    environ = {"EXPIRYD_ENV": "prod"}
    config = load_files([first, second], environ)
    assert config.policy.critical == timedelta(days=4)
    assert config.policy.warning == timedelta(days=31)
    assert config.daemon.drain == timedelta(seconds=20)
    assert config.daemon.log_level == "error"
    config = load_files([first, second], environ | {"EXPIRYD_POLICY__CRITICAL": "5d"})
    assert config.policy.critical == timedelta(days=5)


def test_lists_and_references_are_replaced_and_not_mixed(tmp_path: Path) -> None:
    write(tmp_path / "conf.d" / "a.toml", 'collectors.a = { path = ["/z"], password = { env = "PW" } }')
    config = load_text(
        tmp_path, 'collectors.a = { type = "watch", path = ["/x", "/y"], password = { file = "/pw" }, host = "h" }'
    )
    watch = config.collectors["a"]
    assert isinstance(watch, WatchConfig)
    assert watch.path == ("/z",)
    assert watch.password == SecretRef(env="PW")
    assert watch.host == "h"


def test_variables_reach_into_plugins_and_spell_hyphens_as_underscores(tmp_path: Path) -> None:
    config = load_text(
        tmp_path,
        """
        collectors.ci-tokens = { type = "watch", path = "/x" }
        notifiers.n = { type = "tell", webhook_url = { env = "U" } }
        """,
        {
            "EXPIRYD_COLLECTORS__CI_TOKENS__PATH": '["/a", "/b"]',
            "EXPIRYD_COLLECTORS__CI_TOKENS__HOST": "123",
            "EXPIRYD_NOTIFIERS__N__PORT": "587",
            "EXPIRYD_NOTIFIERS__N__WEBHOOK_URL__FILE": "/run/u",
            "EXPIRYD_DAEMON__DATABASE": "postgresql://u:p@h/d",
            "EXPIRYD_CONFIG": "ignored here",
            "EXPIRYD_PORT": "tcp://10.0.0.1:9783",
            "EXPIRYD_SLACK_URL": "a secret of the user's",
            "PATH": "/bin",
        },
    )
    watch, tell = config.collectors["ci-tokens"], config.notifiers["n"]
    assert isinstance(watch, WatchConfig)
    assert isinstance(tell, TellConfig)
    assert watch.path == ("/a", "/b")
    assert watch.host == "123"
    assert tell.port == 587
    assert tell.webhook_url == SecretRef(file=Path("/run/u"))


def test_a_variable_that_is_a_typo_is_an_error_that_names_it(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "",
        {
            "EXPIRYD_POLCY__CRITICAL": "1d",
            "EXPIRYD_LOG_LEVEL": "debug",
            "EXPIRYD_HTTP_LISTEN": "x",
            "EXPIRYD_DAEMON__LOG_LEVLE": "debug",
        },
    )
    assert found == {
        "EXPIRYD_HTTP_LISTEN": "means nothing; write EXPIRYD_HTTP__LISTEN",
        "EXPIRYD_LOG_LEVEL": "means nothing; write EXPIRYD_DAEMON__LOG_LEVEL",
        "EXPIRYD_POLCY__CRITICAL": "there is no such section; did you mean policy?",
        "daemon.log_levle": "there is no such key; did you mean log_level? (set by EXPIRYD_DAEMON__LOG_LEVLE)",
    }


def test_a_missing_overlay_is_an_error(tmp_path: Path) -> None:
    found = problems(tmp_path, "", {"EXPIRYD_ENV": "prod"})
    assert found == {"EXPIRYD_ENV": f"asks for {tmp_path}/expiryd.prod.toml, which is not there"}
    assert "plain name" in problems(tmp_path, "", {"EXPIRYD_ENV": "../x"})["EXPIRYD_ENV"]


def test_files_that_cannot_be_read_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"a = '\xff'")
    write(tmp_path / "conf.d" / "bad.toml", "[policy]\ncritical = 7d\n")
    write(tmp_path / "deep.toml", "a = " + "[" * 100_000)
    write(tmp_path / "large.toml", "a = " + "9" * 5000)
    names = ("latin.toml", "deep.toml", "large.toml")
    with pytest.raises(ConfigError) as caught:
        load_files([tmp_path / "gone.toml", tmp_path, *(tmp_path / name for name in names)])
    lines = str(caught.value).splitlines()
    assert f"{tmp_path}/gone.toml: cannot be read: No such file or directory" in lines
    assert f"{tmp_path}: cannot be read: Is a directory" in lines
    assert f"{tmp_path}/latin.toml: is not UTF-8 text (byte 5)" in lines
    assert f"{tmp_path}/deep.toml: is nested too deeply" in lines
    assert any(line.startswith(f"{tmp_path}/large.toml: is not TOML: Exceeds the limit") for line in lines)
    assert any(line.startswith(f"{tmp_path}/conf.d/bad.toml:2:13: is not TOML: ") for line in lines)


def test_a_name_declared_in_two_files_of_equal_rank_is_an_error_naming_both(tmp_path: Path) -> None:
    write(tmp_path / "conf.d" / "b.toml", 'collectors.a = { type = "watch" }')
    found = problems(tmp_path, 'collectors.a = { type = "watch" }')
    assert found == {
        "collectors.a": f"is declared in {tmp_path}/expiryd.toml and again in {tmp_path}/conf.d/b.toml; rename one"
    }


def test_the_default_file_is_the_named_one_else_the_local_one() -> None:
    assert default_paths({"EXPIRYD_CONFIG": "/x.toml"}) == (Path("/x.toml"),)
    assert default_paths({}) in {(Path("/etc/expiryd/expiryd.toml"),), (Path("config/expiryd.toml"),)}


# ── hash ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_hash_follows_what_is_effective_and_knows_no_secret(tmp_path: Path) -> None:
    one = load_text(tmp_path, 'policy.critical = "7d"').hash
    assert one == load_text(tmp_path, "").hash
    assert one != load_text(tmp_path, 'policy.critical = "6d"').hash
    with_plugin = 'collectors.a = { type = "watch", host = "%s" }'
    assert load_text(tmp_path, with_plugin % "a").hash != load_text(tmp_path, with_plugin % "b").hash
    database = 'daemon.database = "postgresql://u:%s@h/d"'
    assert load_text(tmp_path, database % "one").hash == load_text(tmp_path, database % "two").hash


def test_a_database_password_is_never_shown(tmp_path: Path) -> None:
    config = load_text(tmp_path, f'daemon.database = "postgresql://u:{CANARY}@h/d"')
    assert CANARY not in repr(config)
    assert CANARY not in config.model_dump_json()


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("host", ["gateway..lan", f"{'a' * 64}.lan", ".lan"])
def test_a_name_that_cannot_be_asked_for_is_no_target_of_connectivity(tmp_path: Path, host: str) -> None:
    found = problems(tmp_path, f'connectivity.targets = ["{host}:53"]')
    assert found == {"connectivity.targets[0]": 'write host:port such as "192.0.2.1:53" or "[2001:db8::1]:443"'}


@pytest.mark.parametrize("end", ["9999-12-31", "9999-12-31T23:59:59Z"])
def test_the_last_year_of_the_calendar_is_no_end_but_a_stand_in_for_never(tmp_path: Path, end: str) -> None:
    found = problems(tmp_path, f'collectors.a = {{ type = "watch", path = "x", items.x = {{ expires = {end} }} }}')
    assert found == {"collectors.a.items.x.expires": 'write "never" for what never expires'}


def test_every_error_is_told_at_once_across_sections_and_plugins(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        polcy = 1
        daemon = { log_levle = "x", log_level = "loud", drain = "5", timezone = "Mars/Base" }
        http = { listen = "nonsense", tls_key = "x" }
        policy = { critical = "40d", cooldown = { infoo = "1d" } }
        categories.c = { critical = "2d", warning = "1d" }
        collectors.a = { type = "watch", path = [1], items.x = { expires = "soon", onwer = "me" } }
        collectors.b = { type = "wach" }
        collectors.c = { }
        collectors.d = { type = "broken" }
        collectors."Bad Name" = { type = "watch", items."h:443" = { warning = "1h", critical = "1d" } }
        notifiers.n = { type = "tell", port = "x", security = "ssl", careless = 5, rate = "often" }
        notifiers.m = "text"
        """,
    )
    assert found == {
        "polcy": "there is no such section; did you mean policy?",
        "daemon.log_levle": "there is no such key; did you mean log_level?",
        "daemon.log_level": "must be 'debug', 'info', 'warning' or 'error'",
        "daemon.drain": "write a duration such as 90s, 15m, 2h, 7d or 2w",
        "daemon.timezone": 'must be a time zone of the IANA list, such as "UTC" or "Europe/Berlin"',
        "http.listen": 'write host:port such as "127.0.0.1:9783" or "[::1]:9783", or "" to switch it off',
        "policy.cooldown.infoo": "a cooldown belongs to expired, critical, warning or info",
        "categories.c": "critical (2d) must not be longer than warning (1d)",
        "collectors.a.path": 'must be text in quotes, such as "text"',
        "collectors.a.path[0]": 'must be text in quotes, such as "text"',
        "collectors.a.items.x.expires": (
            "write a date such as 2026-09-01 or a time such as 2026-09-01T12:00:00Z; or must be 'never'"
        ),
        "collectors.a.items.x.onwer": "there is no such key; did you mean owner?",
        "collectors.b.type": "no plugin of this type is installed; did you mean watch? installed: broken, watch",
        "collectors.c.type": "is required: one of broken, watch",
        "collectors.d.type": (
            "the plugin broken (no_such_module_:X, from an unknown distribution) needs the module no_such_module_, "
            "which is not installed"
        ),
        'collectors."Bad Name"': (
            "a name has small letters, digits, - and _, starts with a letter or digit and is no longer than "
            "63 characters, such as ci-tokens"
        ),
        'collectors."Bad Name".items."h:443"': "critical (1d) must not be longer than warning (1h)",
        "notifiers.n": "the plugin's own check failed (AttributeError)",
        "notifiers.m": "must be a table of keys",
    }


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('http.tls_key = "k"', "http", "tls_certificate and tls_key belong together"),
        ('policy.critical = "40d"', "policy", "critical (40d) must not be longer than warning (30d)"),
        ('policy.critical = "0s"', "policy.critical", "must be more than 0s"),
        ('policy.cooldown.info = "-1h"', "policy.cooldown.info", "must be more than 0s"),
        ('policy.cooldown.expired = "0d fading"', "policy.cooldown.expired", "must be more than 0s"),
        ('policy.cooldown.expired = "fading"', "policy.cooldown.expired", "write a duration"),
        ("policy.cooldown.expired = 1", "policy.cooldown.expired", "write a duration"),
        ('policy.cooldown.info = "often"', "policy.cooldown.info", "7d or 2w, `1d fading` if it is to grow, or never"),
        (r'daemon.state_dir = "/tmp/a\u0000b"', "daemon.state_dir", "holds the character NUL"),
        (r'categories.c.labels.team = "a\u0000"', "categories.c.labels.team", "holds the character NUL"),
        ("policy.blind_after = 0", "policy.blind_after", "must be at least 1"),
        ('policy.blind_after = "x"', "policy.blind_after", "must be a whole number"),
        ("policy.leader = []", "policy.leader", "there is no such key"),
        ('policy.ladder = ["30d", "soon"]', "policy.ladder[1]", "33%"),
        ("policy.ladder = [30]", "policy.ladder[0]", "33%"),
        ('policy.warning = "120%"', "policy.warning", "less than 100%"),
        ('policy = { critical = "40%", warning = "30%" }', "policy", "critical (40%) must not be longer than warning"),
        ('policy.short_lived = "never"', "policy.short_lived", "must be 'off'"),
        ('policy.short_lived.critical = "60%"', "policy.short_lived.critical", "must be at most 50%"),
        ('policy.short_lived.ladder = ["1d"]', "policy.short_lived.ladder[0]", "such as 33%"),
        ('policy.working_days.weekend = ["sunday"]', "policy.working_days.weekend[0]", "must be 'mon'"),
        ('policy.working_days.country = "XX"', "policy.working_days", "Country XX not available; write ISO codes"),
        ('policy.working_days = { country = "DE", subdivision = "QQ" }', "policy.working_days", "subdivision QQ"),
        ('policy.working_days.subdivision = "BY"', "policy.working_days", "needs its country"),
        ('policy.at = [{ window = "night", critical = "1d" }]', "policy.at[0].window", "no such window"),
        ('policy.group_wait = "9999999d"', "policy.group_wait", "longer than a thousand years"),
        ('policy.storm.total = "20/9999999d"', "policy.storm.total", "longer than a thousand years"),
        ('kinds.certificate.critical = "0d"', "kinds.certificate.critical", "must be more than 0s"),
        ('categories.a.ladder = "30d"', "categories.a.ladder", "must be a list"),
        ('daemon.database = "mysql://h/d"', "daemon.database", "postgresql://user@host/name"),
        ('http.listen = "localhost:65536"', "http.listen", "write host:port"),
        ('http.tokens.a.hash = "sha256:12"', "http.tokens.a.hash", "sha256sum"),
        ("http.tokens.a = {}", "http.tokens.a.hash", "is required"),
        ('collectors.a = { type = "watch", schedule = "* * * *" }', "collectors.a.schedule", "this has 4 fields"),
        ('collectors.a = { type = "watch", schedule = "0 0 30 2 *" }', "collectors.a.schedule", "bad day-of-month"),
        ('collectors.a = { type = "watch", every = "1h", schedule = "@daily" }', "collectors.a", "either schedule"),
        ('notifiers.n = { type = "tell" }', "notifiers.n.webhook_url", "is required"),
        ('notifiers.n = { type = "tell", webhook_url = {} }', "notifiers.n.webhook_url", "exactly one"),
        ('notifiers.n = { type = "tell", webhook_url = "x" }', "notifiers.n.webhook_url", "never written here"),
        (
            'notifiers.n = { type = "tell", webhook_url = { env = "X" }, rate = "often" }',
            "notifiers.n.rate",
            '"1/1s"',
        ),
    ],
)
def test_an_error_names_its_place_and_the_accepted_form(tmp_path: Path, text: str, path: str, message: str) -> None:
    found = problems(tmp_path, text)
    assert list(found) == [path]
    assert message in found[path]


KEYS = st.sampled_from(
    [
        *(
            f"daemon.{key}"
            for key in ("state_dir", "database", "timezone", "log_level", "drain", "retention", "event_loop")
        ),
        *(f"http.{key}" for key in ("listen", "tls_key", "tokens.a.hash", "tokens.a.role", "tokens.a", "tokens")),
        *(f"policy.{key}" for key in ("critical", "cooldown", "cooldown.info", "blind_after", "unknown")),
        *(f"categories.c.{key}" for key in ("lifetime", "labels", "cooldown.warning", "owner.x")),
        *(f"collectors.a.{key}" for key in ("type", "path", "password", "schedule", "every", "host", "items.x.issued")),
        *(f"notifiers.n.{key}" for key in ("type", "webhook_url", "port", "security", "rate", "events", "headers.x")),
        *(f"notifiers.n.{key}" for key in ("careless", "webhook_url.age", "webhook_url.env.x", "timeout")),
        "daemon",
        "collectors",
        "nonsense",
    ]
)
SHAPES = st.sampled_from(
    ["'{}'", "['{}']", "[['x {}']]", "{{ x = '{}' }}", "{{ file = '{}' }}", "'http://{}@h:1/{}'", "'is {}'"]
)


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("2026-09-01", date(2026, 9, 1)),
        ('"2026-09-01"', date(2026, 9, 1)),
        ("2026-09-01T00:00:00Z", datetime(2026, 9, 1, tzinfo=UTC)),
        ('"2026-09-01T00:00:00Z"', datetime(2026, 9, 1, tzinfo=UTC)),
        ('" 2026-09-01 02:00:00+02:00"', datetime(2026, 9, 1, tzinfo=UTC)),
        ('"2026-09-01T00:00:00"', datetime(2026, 9, 1)),  # noqa: DTZ001 - in the daemon's time zone
        ('"never"', "never"),
    ],
)
def test_midnight_is_a_moment_and_no_day_also_in_quotes(tmp_path: Path, typed: str, means: object) -> None:
    """A day lasts to its end: taken for one, the end at midnight would be told a day late."""
    text = f'collectors.a = {{ type = "watch", path = [], items.x = {{ expires = {typed} }} }}'
    said = load_text(tmp_path, text).collectors["a"].items["x"].expires
    assert (type(said), said) == (type(means), means)


@pytest.mark.parametrize("typed", ["0", "1790000000", '"0"', '"1790000000"', "20260901", "true", '"31/12/2026"'])
def test_a_number_is_no_date(tmp_path: Path, typed: str) -> None:
    text = f'collectors.a = {{ type = "watch", path = [], items.x = {{ expires = {typed}, issued = {typed} }} }}'
    said = problems(tmp_path, text)
    assert sorted(said) == ["collectors.a.items.x.expires", "collectors.a.items.x.issued"]
    assert all(words.startswith("write a date such as 2026-09-01 or a time such as") for words in said.values())


@settings(deadline=None, max_examples=200)
@given(key=KEYS, shape=SHAPES)
def test_no_message_repeats_a_value_that_was_typed(
    tmp_path_factory: pytest.TempPathFactory, key: str, shape: str
) -> None:
    base = {
        "collectors.a.": 'collectors.a.type = "watch"\n',
        "notifiers.n.": 'notifiers.n.type = "tell"\n',
    }
    start = next((text for prefix, text in base.items() if key.startswith(prefix) and key != f"{prefix}type"), "")
    text = f"{start}{key} = {shape.replace('{}', CANARY).replace('{{', '{').replace('}}', '}')}\n"
    try:
        load_text(tmp_path_factory.mktemp("canary"), text)
    except ConfigError as error:
        assert CANARY not in str(error)
        assert CANARY not in repr(error.__cause__) + repr(error.__context__)
