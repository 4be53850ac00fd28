"""The names that other people's tools touch stay as they are."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import entry_points

import pytest

from expiryd.api import Severity
from expiryd.config.model import Config
from expiryd.config.policy import PolicyConfig
from expiryd.core.model import Basis, EventKind, ItemId, ItemState, Lifetime, Observation
from expiryd.core.view import item_row
from expiryd.engine.metrics import Metrics
from expiryd.store.port import Fate
from expiryd.testing import EPOCH

COLLECTORS = {"env-file", "inventory", "jwt", "tls", "token-dir", "x509-file"}
NOTIFIERS = {"email", "file", "github-issue", "slack", "webhook"}
ITEM_KEYS = {
    *("item", "collector", "category", "kind", "title", "severity", "days_left", "expires_at", "issued_at", "basis"),
    *("findings", "measures", "owner", "runbook", "action", "labels", "observed_at"),
}
METRICS = {
    *("expiryd_collector_up", "expiryd_collector_items", "expiryd_collector_last_success_timestamp_seconds"),
    *("expiryd_collector_duration_seconds", "expiryd_collector_overruns", "expiryd_events", "expiryd_notifications"),
    *("expiryd_notifications_suppressed", "expiryd_notification_latency_seconds"),
    *("expiryd_notifier_last_delivery_timestamp_seconds", "expiryd_config_last_reload_successful"),
    *("expiryd_config_last_reload_success_timestamp_seconds", "expiryd_config_info", "expiryd_build_info"),
    "expiryd_loop_lag_seconds",
}


@pytest.mark.parametrize(("group", "names"), [("collectors", COLLECTORS), ("notifiers", NOTIFIERS)])
def test_the_built_in_plugins_have_their_names(group: str, names: set[str]) -> None:
    assert {point.name for point in entry_points(group=f"expiryd.{group}")} >= names


def test_an_item_has_the_pinned_keys() -> None:
    seen = Observation("x", kind="token", lifetime=Lifetime(EPOCH + timedelta(days=3, hours=23)))
    state = ItemState(ItemId("c/x"), "c", seen, Severity.CRITICAL, first_seen=EPOCH)
    row = item_row(state, EPOCH, EPOCH)
    assert set(row) >= ITEM_KEYS
    assert row["days_left"] == 3
    assert row["expires_at"] == "2030-01-04T23:00:00Z"


def test_the_daemons_own_metrics_have_their_names() -> None:
    names = {family.name for family in Metrics("1").registry.collect()}
    assert names >= METRICS


def test_severities_bases_events_and_fates_have_their_words() -> None:
    assert {severity.word: int(severity) for severity in Severity} == {
        "unknown": -1,
        "healthy": 0,
        "info": 1,
        "warning": 2,
        "critical": 3,
        "expired": 4,
    }
    assert {basis.value for basis in Basis} == {"verified", "embedded", "metadata", "ttl", "policy", "typed", "none"}
    assert {kind.value for kind in EventKind} >= {
        *("raised", "worsened", "repeated", "eased", "renewed", "resolved", "vanished", "blind", "sighted"),
    }
    assert {fate.value for fate in Fate} == {"pending", "leased", "delivered", "dead", "suppressed", "superseded"}


def test_the_defaults_are_those_that_are_promised() -> None:
    policy, config = PolicyConfig(), Config()
    days = timedelta(days=1)
    assert (policy.critical, policy.warning, policy.info) == (7 * days, 30 * days, 45 * days)
    assert policy.group_wait == timedelta(seconds=30)
    assert {severity.word: wait for severity, wait in policy.cooldown.items()} == {
        "expired": days,
        "critical": days,
        "warning": 7 * days,
        "info": None,
    }
    assert config.http.listen == "127.0.0.1:9783"
    assert str(config.daemon.state_dir) == "/var/lib/expiryd"
    assert config.daemon.timezone.key == "UTC"
