"""An apt of our own, beside the system's: own sources, lists and caches, all in one directory.

Of the system's apt only mirror, keys, proxies and the like are read (apt.conf(5)); nothing of it
is changed.
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from vfio_hw import cache
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import tools
from vfio_hw.vm.kernels.mirror import Mirror

_LISTS_SECONDS = 600.0
_DOWNLOAD_SECONDS = 1800.0


class Apt:
    """Looks into a mirror without installing anything; its files are under ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lists = root / "lists"
        self._configuration = root / "apt.conf"

    def update(self, mirror: Mirror, suites: Iterable[str], targets: str) -> str:
        """Fetch the lists of the suites anew; no older ones are left.

        :param targets: which index files of a suite ("Packages"); "none" for its Release alone.
        :returns: what apt says; a suite that fails does not fail the others.
        :raises HarnessError: the disk is full.
        """
        self._configure(mirror, suites, targets)
        shutil.rmtree(self._lists, ignore_errors=True)
        (self._lists / "partial").mkdir(parents=True)
        log = self._root / "update.log"
        with contextlib.suppress(HarnessError):
            tools.watch(
                ["apt-get", f"-c={self._configuration}", "-q", "update"],
                "fetching package lists",
                timeout=_LISTS_SECONDS,
                log=log,
                into=self._root,
                glance=lambda: None,
            )
        said = log.read_text(errors="replace")
        if tools.names_full_disk(said):
            raise cache.disk_full(self._root)
        return said

    def codename(self, suite: str) -> str | None:
        """The codename that a suite's Release file gives; None when the suite is not there."""
        for path in self._lists.glob(f"*_dists_{suite}_*Release"):
            found = re.search(r"^Codename: (\S+)$", path.read_text(), re.MULTILINE)
            if found:
                return found[1]
        return None

    def query(self, *words: str) -> str:
        """The answer of ``apt-cache``.

        :raises HarnessError: it fails.
        """
        command = ["apt-cache", f"-c={self._configuration}", *words]
        return tools.run(command, "reading the package lists", timeout=120)

    def download(self, package: str, into: Path, doing: str, glance: Callable[[], None]) -> None:
        """Fetch ``NAME=VERSION`` into a directory, checked against the signed lists.

        :raises HarnessError: it can not be had whole.
        """
        tools.watch(
            ["apt-get", f"-c={self._configuration}", "-q", "download", package],
            doing,
            timeout=_DOWNLOAD_SECONDS,
            log=self._root / "download.log",
            into=into,
            glance=glance,
        )

    def _configure(self, mirror: Mirror, suites: Iterable[str], targets: str) -> None:
        root = self._root
        for part in ("cache/archives/partial", "state"):
            (root / part).mkdir(parents=True, exist_ok=True)
        (root / "state" / "status").touch()
        self._configuration.write_text(f"""\
Dir::Etc::sourcelist "{root}/debian.sources";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
Dir::State "{root}/state";
Dir::State::lists "{self._lists}";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
""")
        (root / "debian.sources").write_text(f"""\
Types: deb
URIs: {mirror.address}
Suites: {" ".join(suites)}
Components: main
Targets: {targets}
Signed-By: {mirror.signed_by}
""")
