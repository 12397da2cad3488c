"""What pip runs to build the extension, named in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext

# pip builds with only the build requirements on the path, not the project itself.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vfio_hw.uapi import builder


class BuildExt(build_ext):
    """setuptools decides where the extension goes, the builder makes it."""

    def build_extension(self, ext: Extension) -> None:
        builder.build(Path(self.get_ext_fullpath(ext.name)).resolve())
