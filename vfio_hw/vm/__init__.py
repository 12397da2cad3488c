"""Kernels and the guests that run them; knows nothing of tests."""
