"""Loads the plugin; everything else is in vfio_hw/plugin.py."""

pytest_plugins = ["vfio_hw.plugin", "vfio_hw.fixtures"]
