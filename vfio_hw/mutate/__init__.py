"""The lie detector: bugs put back into the kernel, to see whether the tests notice."""
