"""Health, metrics and API over HTTP, on a TCP address and on the unix socket that the command line uses."""
