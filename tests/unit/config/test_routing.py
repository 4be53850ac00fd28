"""Routes, windows and maintenance as people write them, and everything that may be wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from tests.unit.core.words import event

from expiryd.api import CollectorConfig, EventKind, NotifierConfig, Severity, Traits
from expiryd.config import Config, ConfigError, load
from expiryd.config.routing import LevelConfig, MaintenanceConfig, RouteConfig, WindowConfig
from expiryd.core.matching import Matcher
from expiryd.core.routing import Level, Route, levels_of
from expiryd.core.silencing import Hush, muting
from expiryd.engine.graph import hears_of
from expiryd.engine.muting import hush_of
from expiryd.registry import Registry

SAMPLE = Path(__file__).parents[3] / "config" / "samples" / "escalation.toml"
NOTIFIERS = """
[notifiers.slack]
type = "file"
directory = "x"
[notifiers.pager]
type = "file"
directory = "x"
"""


def load_file(path: Path, environ: dict[str, str] | None = None) -> Config:
    collectors = Registry(CollectorConfig, entry_points(group="expiryd.collectors"))
    notifiers = Registry(NotifierConfig, entry_points(group="expiryd.notifiers"))
    return load([path], environ=environ or {}, collectors=collectors, notifiers=notifiers)


def load_text(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    path = tmp_path / "expiryd.toml"
    path.write_text(NOTIFIERS + text)
    return load_file(path, environ)


def hush(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Hush:
    return hush_of(load_text(tmp_path, text, environ))


def test_a_route_means_what_it_says(tmp_path: Path) -> None:
    text = """
    [windows.office]
    times = "mon-fri 08:00-18:00"
    [windows.night]
    times = ["22:00-06:00"]
    [[routes]]
    severity = ["critical", "expired"]
    category = "cicd"
    labels = { env = ["prod*", "live"] }
    events = "raised"
    notify = ["slack", "pager"]
    continue = true
    active = "office"
    quiet = "night"
    active_for_critical = true
    escalate = [{ after = "15m", notify = "pager" }]
    [[routes]]
    notify = []
    """
    matcher = Matcher.parse(
        ["severity=critical,expired", "category=cicd", "labels.env=prod*", "labels.env=live", "event=raised"]
    )
    levels = (Level(timedelta(minutes=15), ("pager",)),)
    assert hush(tmp_path, text).routes == (
        Route(("slack", "pager"), matcher, True, "office", "night", True, levels),
        Route(()),
    )


def test_a_window_is_in_the_zone_of_the_daemon_unless_it_has_its_own(tmp_path: Path) -> None:
    text = """
    [daemon]
    timezone = "America/New_York"
    [windows.here]
    times = "08:00-18:00"
    [windows.there]
    times = "08:00-18:00"
    timezone = "Europe/Berlin"
    """
    windows = hush(tmp_path, text).windows
    morning = datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert windows["there"].contains(morning)
    assert not windows["here"].contains(morning)
    assert windows["here"].opens_at(morning) == datetime(2026, 11, 20, 13, tzinfo=UTC)


def test_maintenance_has_times_and_may_mean_everything(tmp_path: Path) -> None:
    text = """
    [maintenance.sunday]
    times = ["sun 02:00-04:00"]
    matchers = { category = "cicd" }
    [maintenance.spring]
    times = "mon 02:00-03:00"
    """
    sunday, spring = hush(tmp_path, text).maintenance
    assert (sunday.window.name, str(sunday.matcher), str(spring.matcher)) == ("sunday", "category=cicd", "everything")


def test_a_variable_may_set_the_times_of_a_window(tmp_path: Path) -> None:
    text = "[windows.office-hours]\ntimes = 'sat'"
    times = {"EXPIRYD_WINDOWS__OFFICE_HOURS__TIMES": '["sun 10:00-12:00"]'}
    window = hush(tmp_path, text, times).windows["office-hours"]
    assert window.contains(datetime(2026, 11, 22, 11, tzinfo=UTC))


def test_everything_that_is_wrong_is_told_at_once_and_at_its_place(tmp_path: Path) -> None:
    text = """
    [[routes]]
    severity = ["critical", "expird"]
    notify = "slak"
    contnue = true
    [[routes]]
    notify = ["slack", "mail"]
    active = "offic"
    quiet = "nigth"
    collector = ["nope", "no*"]
    escalate = [{ after = "15m", notify = ["oncall"] }]
    [[routes]]
    notify = "slack"
    events = ["exploded"]
    escalate = [{ after = "0s", notify = [] }]
    [[routes]]
    severity = "info"
    [windows.office]
    times = ["mon-fri 08:00-18:00", "fry 10:00-12:00"]
    timezone = "Europe/Berln"
    [windows.night]
    times = []
    [maintenance.sunday]
    matchers = { colletor = "x" }
    [maintenance.monday]
    times = "mon 02:00-04:00"
    matchers = { collector = "x" }
    """
    with pytest.raises(ConfigError) as refused:
        load_text(tmp_path, text)
    said = {problem.path: problem.message for problem in refused.value.errors}
    expected = {
        "routes[0].severity[1]": "`expird` is no severity to match by: there are info, warning, critical, expired",
        "routes[0].contnue": "did you mean continue?",
        "routes[1].notify": "`mail`: there is no such notifier; known are pager, slack",
        "routes[1].active": "`offic`: there is no such window; did you mean office?",
        "routes[1].quiet": "`nigth`: there is no such window; did you mean night?",
        "routes[1].collector": "`nope`: there is no such collector; known are none",
        "routes[1].escalate[0].notify": "`oncall`: there is no such notifier",
        "routes[2].events[0]": "must be 'raised',",
        "routes[2].escalate[0].after": "must be more than 0s",
        "routes[2].escalate[0].notify": "must have at least 1 entries",
        "routes[3].notify": "is required",
        "windows.office.times[1]": "no day of the week",
        "windows.office.timezone": "must be a time zone",
        "windows.night.times": "must have at least 1 entries",
        "maintenance.sunday.matchers.colletor": "did you mean collector?",
        "maintenance.sunday.times": "is required",
        "maintenance.monday.matchers.collector": "`x`: there is no such collector",
    }
    assert said.keys() == expected.keys()
    for path, words in expected.items():
        assert words in said[path], path


def test_routes_are_a_list_also_in_the_words_of_the_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"routes: must be a list of tables: write \[\[routes\]\]"):
        load_text(tmp_path, '[routes]\nnotify = "slack"')
    with pytest.raises(ConfigError, match="routes are a list, which a variable cannot spell"):
        load_text(tmp_path, "", {"EXPIRYD_ROUTES__0__NOTIFY": "slack"})


def test_every_key_is_documented() -> None:
    page = (SAMPLE.parents[2] / "docs" / "configuration.md").read_text()
    models = (RouteConfig, LevelConfig, WindowConfig, MaintenanceConfig)
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert {key for key in keys if f"`{key}`" not in page} == {"after"}  # which stands in its example
    assert "{ after =" in page


# ── the sample with the response times of an on-call matrix ────────────────────────────────────────────

FRIDAY_EVENING = datetime(2026, 11, 20, 18, 30, tzinfo=UTC)  # half past seven in Berlin
NIGHT = datetime(2026, 11, 19, 23, tzinfo=UTC)


@pytest.fixture(scope="module")
def matrix() -> Config:
    return load_file(SAMPLE)


@pytest.mark.parametrize(
    ("severity", "at_once", "later"),
    [
        (Severity.EXPIRED, ("oncall", "manager"), []),
        (Severity.CRITICAL, ("oncall",), [("15m", "manager")]),
        (Severity.WARNING, ("development",), [("1h", "oncall")]),
        (Severity.INFO, ("lead",), []),
    ],
)
def test_the_sample_tells_each_severity_to_whoever_answers_for_it(
    matrix: Config, severity: Severity, at_once: tuple[str, ...], later: list[tuple[str, str]]
) -> None:
    routes = hush_of(matrix).routes
    news = event(EventKind.RAISED, severity, traits=Traits(owner="web"))
    assert hears_of(routes, matrix.notifiers)(news) == at_once
    spans = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1)}
    assert levels_of(news, routes) == tuple(Level(spans[after], (name,)) for after, name in later)


@pytest.mark.parametrize(
    ("severity", "notifier", "now", "until"),
    [
        (Severity.EXPIRED, "manager", NIGHT, None),
        (Severity.CRITICAL, "oncall", NIGHT, None),
        (Severity.WARNING, "development", NIGHT, datetime(2026, 11, 20, 5, tzinfo=UTC)),
        (Severity.WARNING, "development", FRIDAY_EVENING, None),
        (Severity.INFO, "lead", FRIDAY_EVENING, datetime(2026, 11, 23, 7, tzinfo=UTC)),
    ],
)
def test_the_sample_wakes_people_only_for_what_cannot_wait(
    matrix: Config, severity: Severity, notifier: str, now: datetime, until: datetime | None
) -> None:
    mute = muting(hush_of(matrix), notifier, now)(event(EventKind.RAISED, severity))
    assert (mute.until if mute else None) == until
