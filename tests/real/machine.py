"""A throw-away machine with a real systemd, on which expiryd is installed as docs/operations.md says."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .processes import REPOSITORY, program, until

_NSPAWN = REPOSITORY / "tests/real/nspawn"
UNITS = REPOSITORY / "deploy/systemd"


class Machine:
    """Runs commands inside, as root, and reads and writes its files from outside."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def file(self, path: str) -> Path:
        return self._directory / "root" / path.lstrip("/")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def run(self, *command: str, check: bool = True, within: float = 60) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(_NSPAWN), "exec", str(self._directory), *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{command!r} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def show(self, *properties: str, unit: str = "expiryd.service") -> dict[str, str]:
        """Properties of a unit as systemd has them now."""
        lines = self.run("systemctl", "show", unit, f"--property={','.join(properties)}").stdout.splitlines()
        return dict(line.partition("=")[::2] for line in lines)

    def wait(self, unit: str = "expiryd.service", within: float = 30, **wanted: str) -> None:
        """Until the unit's properties are as wanted."""
        seen: dict[str, str] = {}

        def as_wanted() -> bool:
            seen.update(self.show(*wanted, unit=unit))
            return seen == wanted

        try:
            until(as_wanted, within=within, waiting_for=f"{unit} to be {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen}\n{self.journal(unit)}") from None

    def journal(self, unit: str = "expiryd.service") -> str:
        """What the unit wrote and what systemd said of it, since the machine started or the journal was emptied."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", f"--unit={unit}", "--no-pager", "--output=short-precise").stdout


@contextmanager
def booted(directory: Path) -> Iterator[Machine]:
    program("systemd-nspawn")
    try:
        up = subprocess.run([str(_NSPAWN), "up", str(directory)], capture_output=True, text=True, check=False)
        if up.returncode:
            pytest.fail(f"the container did not boot:\n{up.stdout}{up.stderr}", pytrace=False)
        yield Machine(directory)
    finally:
        subprocess.run([str(_NSPAWN), "down", str(directory)], check=True)


def install(machine: Machine, wheels: Path) -> None:
    """Put expiryd below /opt/expiryd: our own libraries copied, the package itself from a wheel built now."""
    python = next(filter(Path.exists, map(Path, _interpreters())), None)
    if python is None:
        pytest.fail(f"no {_interpreters()[0]}: a service cannot use an interpreter in a home directory", pytrace=False)
    # pip of this environment, no registry: the wheel is built from the checkout with the build tools that are here.
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(wheels), str(REPOSITORY)]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    machine.run(str(python), "-m", "venv", "--without-pip", "/opt/expiryd")
    (site,) = machine.file("/opt/expiryd/lib").glob("python3*/site-packages")
    shutil.copytree(sysconfig.get_path("purelib"), site, dirs_exist_ok=True, symlinks=True)
    shutil.copy(wheel, machine.file("/opt") / wheel.name)
    own = ["install", "--quiet", "--no-index", "--no-deps", "--force-reinstall", f"/opt/{wheel.name}"]
    machine.run("/opt/expiryd/bin/python", "-m", "pip", "--disable-pip-version-check", *own)
    shutil.copy(UNITS / "expiryd.service", machine.file("/etc/systemd/system"))
    machine.run("systemctl", "daemon-reload")


def _interpreters() -> list[str]:
    name = f"bin/python{sys.version_info.major}.{sys.version_info.minor}"
    return [f"/usr/local/{name}", f"/usr/{name}"]
