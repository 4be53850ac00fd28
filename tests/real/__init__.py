"""expiryd against the real third-party servers; `tests/real/install` puts them on the machine."""
