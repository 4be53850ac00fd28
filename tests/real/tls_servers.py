"""Real TLS servers of every kind on loopback, each with a certificate that ends on a day of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from .authority import Authority, Leaf
from .postfix import postfix
from .processes import Processes, free_port, program

VALID, EXPIRED, BARE, MUTUAL = "valid.test", "expired.test", "bare.test", "mutual.test"
DATABASE, DIRECTORY, MAIL, STRICT = "database.test", "directory.test", "mail.test", "strict.test"
_DAYS = {
    VALID: 300.5,
    EXPIRED: -3.25,
    BARE: 120.75,
    MUTUAL: 90.1,
    DATABASE: 60.2,
    DIRECTORY: 45.3,
    STRICT: 33.7,
    MAIL: 20.4,
}


@dataclass(frozen=True, slots=True)
class Server:
    """`scheme` as a target of ours has it; `starttls` as `openssl s_client` calls it, empty for TLS at once."""

    name: str
    port: int
    scheme: str = "tls"
    starttls: str = ""

    @property
    def target(self) -> str:
        return f"{self.scheme}://{self.name}:{self.port}"

    def end_date(self) -> str:
        """What `openssl` says of the certificate that is served now: `notAfter=…`."""
        command = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", self.name]
        command += ["-starttls", self.starttls] if self.starttls else []
        seen = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        asked = [program("openssl"), "x509", "-noout", "-enddate"]
        done = subprocess.run(asked, input=seen.stdout, capture_output=True, check=True)
        return done.stdout.decode().strip()


@dataclass(frozen=True, slots=True)
class Servers:
    """`root` is the authority to trust."""

    root: Path
    each: list[Server]

    def named(self, name: str) -> Server:
        """The first of that name: the one that speaks STARTTLS, if any."""
        return next(server for server in self.each if server.name == name)


@contextmanager
def serving(folder: Path) -> Iterator[Servers]:
    """`folder` must be one that other users may enter."""
    authority = Authority(folder)
    leaves = {name: authority.leaf(name, days) for name, days in _DAYS.items()}
    with Processes(folder) as processes, postfix(folder, leaves[MAIL]) as mail:
        each = _nginx(processes, folder, leaves, authority.root)
        each.append(_postgres(processes, folder, leaves[DATABASE]))
        for name in (DIRECTORY, STRICT):
            each += _slapd(processes, folder / name, name, leaves[name], authority.root)
        each.append(Server(MAIL, mail.port, "smtp", "smtp"))
        yield Servers(authority.root, each)


def _nginx(processes: Processes, folder: Path, leaves: dict[str, Leaf], root: Path) -> list[Server]:
    home = folder / "nginx"
    home.mkdir()
    port = free_port()
    blocks = []
    for name in (VALID, EXPIRED, BARE, MUTUAL):
        leaf = leaves[name]
        certificate = leaf.alone if name == BARE else leaf.chain
        extra = f"ssl_verify_client on; ssl_client_certificate {root};" if name == MUTUAL else ""
        blocks.append(
            f"server {{ listen 127.0.0.1:{port} ssl; server_name {name}; return 200 ok; "
            f"ssl_certificate {certificate}; ssl_certificate_key {leaf.key}; {extra} }}"
        )
    paths = "".join(
        f"{kind}_temp_path {home}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    settings = (
        f"daemon off; pid {home}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off;\n{paths}"
        + "\n".join(blocks)
        + "\n}\n"
    )
    (home / "nginx.conf").write_text(settings)
    processes.start(program("nginx"), "-p", home, "-e", "stderr", "-c", home / "nginx.conf", port=port)
    return [Server(name, port) for name in (VALID, EXPIRED, BARE, MUTUAL)]


def _postgres(processes: Processes, folder: Path, leaf: Leaf) -> Server:
    home = folder / "postgres"
    home.mkdir()
    shutil.chown(leaf.key, "postgres")
    shutil.chown(home, "postgres")
    as_postgres = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    made = [program("initdb"), "--pgdata", f"{home}/data", "--no-sync", "--auth", "reject"]
    subprocess.run([*as_postgres, *made], cwd=home, check=True, capture_output=True)
    port = free_port()
    options = {"ssl": "on", "ssl_cert_file": leaf.chain, "ssl_key_file": leaf.key, "fsync": "off"}
    settings = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
    listen = ["-D", f"{home}/data", "-p", str(port), "-h", "127.0.0.1", "-k", str(home)]
    processes.start(program("postgres"), *listen, *settings, port=port, user="postgres", cwd=home)
    return Server(DATABASE, port, "postgres", "postgres")


def _slapd(processes: Processes, home: Path, name: str, leaf: Leaf, root: Path) -> list[Server]:
    """The strict one turns clients without a certificate away; nginx lets them in and then answers 400."""
    home.mkdir()
    port, direct = free_port(), free_port()
    settings = f"""
        pidfile {home}/pid
        TLSCertificateFile {leaf.chain}
        TLSCertificateKeyFile {leaf.key}
        TLSCACertificateFile {root}
        TLSVerifyClient {"demand" if name == STRICT else "never"}
    """
    (home / "slapd.conf").write_text(dedent(settings))
    urls = f"ldap://127.0.0.1:{port} ldaps://127.0.0.1:{direct}"
    processes.start(program("slapd"), "-f", home / "slapd.conf", "-h", urls, "-d", "0", port=port)
    return [Server(name, port, "ldap", "ldap"), Server(name, direct, "ldaps")]
