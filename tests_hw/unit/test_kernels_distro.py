"""This file checks which of Debian's packages make its kernel, and where their files end up."""

from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import distro, names, samples, store
from vfio_hw.vm.kernels.archive import Package

META = "linux-image-amd64"
RELEASE = "6.1.0-50-amd64"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path))
    return tmp_path


def offered(*rows):
    return [(Package(META, version), suite) for version, suite in rows]


def test_the_kernel_is_that_of_this_machine_s_release(monkeypatch):
    versions = offered(("7.3-1", "trixie-backports"), ("6.12-1", "trixie"), ("6.1-1", "bookworm"))
    monkeypatch.setattr(distro, "_codename", lambda: "trixie")
    assert distro._chosen(versions).version == "6.12-1"
    monkeypatch.setattr(distro, "_codename", lambda: "another")
    assert distro._chosen(versions).version == "7.3-1"


def test_a_candidate_is_no_kernel_to_test(monkeypatch):
    monkeypatch.setattr(distro, "_codename", lambda: "sid")
    found = distro._chosen(offered(("7.4~rc1-1", "sid"), ("7.3-1", "sid")))
    assert found.version == "7.3-1"
    with pytest.raises(HarnessError, match="has no linux-image-amd64"):
        distro._chosen([])


class Archive:
    """Plays one whose image package is of this layout."""

    def __init__(self, modules="lib/modules"):
        self.modules, self.fetched = modules, []

    def ask(self):
        return ""

    def versions(self, name):
        return offered(("6.1.176-1", "bookworm")) if name == META else []

    def needs(self, package):
        names = {
            META: [f"linux-image-{RELEASE}", "linux-modules-amd64", "linux-base-amd64"],
            "linux-modules-amd64": [f"linux-modules-{RELEASE}"],
        }
        return [Package(name, package.version) for name in names.get(package.name, [])]

    def fetch(self, package, into):
        raise HarnessError(f"the Debian archive has no {package}")


@pytest.fixture
def played(monkeypatch):
    def play(modules):
        archive = Archive(modules)

        def unpack(_, package, into):
            archive.fetched.append(package.name)
            (into / "boot").mkdir(exist_ok=True)
            (into / "boot" / f"vmlinuz-{RELEASE}").touch()
            (into / "boot" / f"config-{RELEASE}").touch()
            (into / modules / RELEASE).mkdir(parents=True, exist_ok=True)
            (into / modules / RELEASE / "modules.order").touch()

        monkeypatch.setattr(distro, "Archive", lambda say: archive)
        monkeypatch.setattr(distro, "unpack", unpack)
        monkeypatch.setattr(distro.image, "release", lambda path: RELEASE)
        return archive

    return play


@pytest.mark.parametrize("modules", ["lib/modules", "usr/lib/modules"])
def test_image_and_modules_are_unpacked_once_and_the_samples_missed(played, modules):
    archive, said = played(modules), []
    first, second = (names.get("distro", say=said.append) for _ in range(2))
    assert first == second
    wanted = [f"linux-image-{RELEASE}", f"linux-modules-{RELEASE}", "linux-modules-amd64"]
    assert sorted(archive.fetched) == wanted
    assert (first.release, first.objects, first.headers) == (RELEASE, None, None)
    assert (first.modules / "modules.dep").is_file()
    assert first.config and first.config.is_file()
    # Its headers are not in that archive.
    assert any(
        "sample mediated" in line and "linux-headers-6.1.0-50-amd64" in line for line in said
    )
    assert store.pointer("distro") == Package(META, "6.1.176-1")


def test_samples_that_can_not_be_built_are_left_out_with_the_reason(here):
    said = []
    samples.add(Archive(), RELEASE, "6.1.176-1", here / "root", said.append)
    assert said == [
        "the sample mediated devices are left out: the Debian archive has no"
        f" linux-headers-{RELEASE} 6.1.176-1"
    ]
    assert list(here.glob("samples-*")) == []


def test_samples_that_could_not_be_had_are_tried_again(played, monkeypatch):
    played("lib/modules")
    kernel = names.get("distro", say=lambda _: None)
    assert not samples.there(RELEASE, kernel.directory)

    def built(archive, release, version, root, work):
        assert (release, version) == (RELEASE, "6.1.176-1")
        extra = root / "lib" / "modules" / release / "extra"
        extra.mkdir()
        for name in samples.NAMES:
            (extra / f"{name}.ko").touch()

    monkeypatch.setattr(samples, "_add", built)
    assert names.get("distro", say=lambda _: None) == kernel
    assert samples.there(RELEASE, kernel.directory)
    monkeypatch.setattr(samples, "_add", lambda *_: pytest.fail("it is built once more"))
    assert names.get("distro", say=lambda _: None) == kernel


def test_samples_that_are_not_unpacked_in_time_are_left_out(played, monkeypatch, here):
    """Nor does that end the run."""
    monkeypatch.setattr(samples, "_SECONDS", 1e-6)
    with pytest.raises(HarnessError, match="unpacking the samples: bash did not end in"):
        samples._extract(Path("/dev/zero"), here)
