"""This machine as sysfs shows it: PCI functions, mediated devices, modules, and binding them."""
