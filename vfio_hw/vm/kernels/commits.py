"""Kernels of the commits of a git tree: each is built once, and the next builds on its objects."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from vfio_hw import cache
from vfio_hw.cache import Say
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import build, config, image, progress, store, tools
from vfio_hw.vm.kernels import tree as by_path

_MEGABYTES = 3000  # a worktree, and the objects of a build
_GIT_SECONDS = 600.0
_MAKE_SECONDS = 3600.0


def git(tree: Path, *words: str) -> str:
    """What git prints in a tree, without the last newline.

    :raises HarnessError: it fails, or is not installed.
    """
    return tools.run(["git", "-C", tree, *words], f"git {words[0]}", timeout=_GIT_SECONDS).strip()


def commit_of(tree: Path, name: str) -> str:
    """The hash of a commit that somebody has named.

    :raises HarnessError: there is no such commit, or no git tree.
    """
    try:
        return git(tree, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except HarnessError:
        raise HarnessError(f"{name} is no commit of {tree}: name one, in a git tree") from None


class Commits:
    """A worktree of our own, beside the user's, whose commits are checked out and built.

    :param fragments: the names of the configuration's fragments.
    """

    def __init__(self, tree: Path, fragments: Sequence[str]) -> None:
        common = git(tree, "rev-parse", "--path-format=absolute", "--git-common-dir")
        key = hashlib.sha256(common.encode()).hexdigest()[:16]
        self._user, self._fragments = tree, fragments
        self._home = cache.directory() / "commits" / key
        self.tree = self._home / "tree"

    @contextlib.contextmanager
    def checked_out(self, commit: str, say: Say) -> Iterator[None]:
        """The worktree is there, at a commit, and gone afterwards; nobody else has it meanwhile."""
        with cache.locked(f"commits-{self._home.name}", f"a worktree of {self._user}", say):
            cache.require_space(cache.directory(), _MEGABYTES, f"a worktree of {self._user}")
            self._remove()
            say(f"checking out a worktree of {self._user}")
            git(self._user, "worktree", "add", "--force", "--detach", str(self.tree), commit)
            try:
                yield
            finally:
                self._remove()

    def _remove(self) -> None:
        # What a process that was killed has left, too.
        shutil.rmtree(self.tree, ignore_errors=True)
        git(self._user, "worktree", "prune")

    def kernel(self, say: Say) -> Path:
        """The directory of the kernel of the commit that is checked out: bzImage, lib/modules.

        :raises HarnessError: it does not build, or does not know an option.
        """
        text = config.read(list(self._fragments))
        made_of = "\n".join([git(self.tree, "rev-parse", "HEAD"), text, store.compiler()])
        key = hashlib.sha256(made_of.encode()).hexdigest()[:16]
        target = self._home / "kernels" / key
        if not target.is_dir():
            tools.require(build.TOOLS, "building a kernel")
            objects = self._home / "objects"
            objects.mkdir(parents=True, exist_ok=True)
            self._build(objects, text, say)
            with cache.published(target) as partial:
                self._install(objects, partial)
        return target

    def _make(self, objects: Path) -> list[str | Path]:
        # Without LOCALVERSION, every commit would have a release of its own, and much to build.
        return ["make", "-s", "-C", self.tree, f"O={objects}", "LOCALVERSION="]

    def _build(self, objects: Path, fragments: str, say: Say) -> None:
        subject = git(self.tree, "show", "-s", "--format=%h %s")
        dropped = config.configure(self.tree, objects, fragments)
        if dropped:
            say(f"{subject}: the kernel does not know {', '.join(dropped)}")
        doing = f"building {subject}"
        with progress.bar(doing, 0, say):
            tools.watch(
                [*self._make(objects), f"-j{len(os.sched_getaffinity(0))}", "all"],
                doing,
                timeout=_MAKE_SECONDS,
                log=self._home / "build.log",
                into=objects,
                glance=lambda: None,
            )

    def _install(self, objects: Path, into: Path) -> None:
        install = [*self._make(objects), f"INSTALL_MOD_PATH={into}", build.STRIPPED]
        install.append("modules_install")
        tools.run(install, "installing the modules", timeout=300, into=into)
        shutil.copyfile(objects / "arch" / "x86" / "boot" / "bzImage", into / "bzImage")
        shutil.copyfile(objects / ".config", into / "config")
        # What its traces are decoded with, until another commit is built there.
        (into / by_path.OBJECTS).symlink_to(objects)
        store.modules_of(into, image.release(into / "bzImage"))
