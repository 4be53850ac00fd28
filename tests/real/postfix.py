"""A Postfix of our own: submission on a free port of loopback, STARTTLS and a login, its mail in a Maildir."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from .authority import Leaf
from .processes import Processes, Running, free_port, program, until

DOMAIN = "mail.test"
USER = f"expiryd@{DOMAIN}"
PASSWORD = "canary-Kx4-of-postfix"
REFUSED = f"nobody@{DOMAIN}"
_OWNER = ("nobody", "nogroup")

_MAIN = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log
maillog_file_prefixes = {home}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = {domain}
mydestination =
mynetworks =
alias_maps =
alias_database =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 100
smtpd_tls_chain_files = {key}, {chain}
smtpd_tls_security_level = encrypt
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = {domain}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access inline:{{{{{refused} = REJECT not here}}}}, permit_sasl_authenticated, reject
"""  # noqa: E501 - Postfix reads a line as it stands

_SERVICES = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Postfix:
    home: Path
    port: int
    running: Running

    def said(self) -> str:
        """Its log."""
        return (self.home / "log").read_text()

    def mails(self) -> list[EmailMessage]:
        """Those delivered so far, oldest first, as they lie in the Maildir (but for the line ends)."""
        files = sorted((self.home / "mail/inbox/new").glob("*"), key=lambda file: file.stat().st_mtime_ns)
        return [message_from_bytes(file.read_bytes(), policy=SMTP) for file in files]

    def received(self, count: int) -> list[EmailMessage]:
        """Wait for so many mails, and for the queue to have nothing more."""
        until(lambda: len(self.mails()) >= count and not self.queued(), within=20, waiting_for=f"{count} mails")
        return self.mails()

    def queued(self) -> list[Path]:
        places = ("incoming", "active", "deferred", "maildrop")
        return [file for place in places for file in (self.home / "queue" / place).rglob("*") if file.is_file()]


@contextmanager
def postfix(folder: Path, leaf: Leaf) -> Iterator[Postfix]:
    """`folder` must be one that other users may enter. Everything of it is gone afterwards."""
    home = folder / "postfix"
    port = free_port()
    for directory in (home, home / "conf", home / "queue", home / "data", home / "mail", home / "conf/sasl"):
        directory.mkdir(mode=0o755)
    shutil.chown(home / "data", "postfix")
    shutil.chown(home / "mail", *_OWNER)
    owner = (home / "mail").stat()
    settings = _MAIN.format(
        home=home,
        domain=DOMAIN,
        refused=REFUSED,
        uid=owner.st_uid,
        gid=owner.st_gid,
        key=leaf.key,
        chain=leaf.chain,
    )
    (home / "conf/main.cf").write_text(settings)
    (home / "conf/master.cf").write_text(_SERVICES.format(port=port))
    _add_login(home)
    try:
        with Processes(folder) as processes:
            # Not by `postfix start-fg`: that waits in a shell, which would leave the master behind.
            subprocess.run([program("postfix"), "-c", str(home / "conf"), "check"], check=True)
            postconf = [program("postconf"), "-c", str(home / "conf"), "-h", "daemon_directory"]
            daemons = Path(subprocess.run(postconf, check=True, capture_output=True, text=True).stdout.strip())
            running = processes.start(daemons / "master", "-c", home / "conf", "-s", port=port)
            yield Postfix(home, port, running)
    finally:
        shutil.rmtree(home)


def _add_login(home: Path) -> None:
    accounts = home / "accounts"
    command = [program("saslpasswd2"), "-p", "-c", "-u", DOMAIN, "-f", str(accounts), USER.partition("@")[0]]
    subprocess.run(command, input=PASSWORD.encode(), check=True)
    accounts.chmod(0o640)
    shutil.chown(accounts, "postfix", "postfix")
    # Debian's Postfix reads it from `sasl` beside main.cf and nowhere else.
    settings = f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {accounts}\n"
    (home / "conf/sasl/smtpd.conf").write_text(settings)
