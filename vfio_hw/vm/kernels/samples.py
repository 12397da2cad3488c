"""The kernel's sample mediated devices, built apart for a packaged kernel, which has none."""

import shutil
import tempfile
from pathlib import Path

from vfio_hw import cache
from vfio_hw.cache import Say
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import tools
from vfio_hw.vm.kernels.archive import Archive, Package

NAMES = ("mtty", "mdpy", "mbochs")
_WHERE = "samples/vfio-mdev"
_SECONDS = 300.0


def there(release: str, root: Path) -> bool:
    """The kernel that was unpacked under ``root`` has them."""
    return all((_extra(release, root) / f"{name}.ko").is_file() for name in NAMES)


def add(archive: Archive, release: str, version: str, root: Path, say: Say) -> None:
    """Put the samples among the modules of a kernel that was unpacked under ``root``.

    They are compiled from the source package of the same version against the kernel's packaged
    headers.  When that can not be done, says why, and the kernel has none.
    """
    try:
        with tempfile.TemporaryDirectory(dir=cache.directory(), prefix="samples-") as name:
            _add(archive, release, version, root, Path(name))
    except HarnessError as error:
        say(f"the sample mediated devices are left out: {error}")


def _add(archive: Archive, release: str, version: str, root: Path, work: Path) -> None:
    tools.require([("make", "make"), ("gcc", "gcc"), ("xz", "xz-utils")], "building the samples")
    headers = _headers(archive, release, version, work)
    source = work / "samples"
    source.mkdir()
    series = ".".join(version.split(".")[:2])
    _extract(_deb(archive, Package(f"linux-source-{series}", version), work), source)
    (source / "Makefile").write_text("".join(f"obj-m += {name}.o\n" for name in NAMES))
    make: list[str | Path] = ["make", "-s", "-C", headers, f"M={source}", "modules"]
    tools.run(make, "building the samples", timeout=_SECONDS, into=work)
    extra = _extra(release, root)
    extra.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        whole = shutil.copyfile(source / f"{name}.ko", extra / f"{name}.new")
        whole.replace(extra / f"{name}.ko")


def _extra(release: str, root: Path) -> Path:
    return root / "lib" / "modules" / release / "extra"


def _headers(archive: Archive, release: str, version: str, work: Path) -> Path:
    """The unpacked headers, told where they are: they are meant for /usr/src."""
    wanted = Package(f"linux-headers-{release}", version)
    there = [package for package, _ in archive.versions(wanted.name)]
    if wanted not in there:
        raise HarnessError(f"the Debian archive has no {wanted}")
    parts = [wanted, *(p for p in archive.needs(wanted) if p.name.startswith("linux-headers-"))]
    short = ".".join(release.split(".")[:2])
    for name in (f"linux-kbuild-{short}", f"linux-kbuild-{release.removesuffix('-amd64')}"):
        parts += [p for p, _ in archive.versions(name) if p.version == version][:1]
    for package in parts:
        command: list[str | Path] = ["dpkg-deb", "-x", _deb(archive, package, work), work]
        tools.run(command, f"unpacking {package}", timeout=_SECONDS, into=work)
    directory = work / "usr" / "src" / wanted.name
    makefile = directory / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{work}/usr/src/"))
    return directory


def _deb(archive: Archive, package: Package, work: Path) -> Path:
    into = work / "fetched" / package.name
    into.mkdir(parents=True)
    return archive.fetch(package, into)


def _extract(deb: Path, into: Path) -> None:
    """Only the samples, from the archive in a source package, without unpacking all of it."""
    script = (
        'dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards "./usr/src/linux-source-*.tar.xz"'
        f' | xz -dc -T0 | tar -x --no-same-owner --wildcards --strip-components=3 -C "$2"'
        f' "*/{_WHERE}/*"'
    )
    command: list[str | Path] = ["bash", "-o", "pipefail", "-c", script, "extract", deb, into]
    tools.run(command, "unpacking the samples", timeout=_SECONDS, into=into)
