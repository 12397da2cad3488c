"""Looks at single sides of the machine: each function tells how one of them is now.

They run after every test, and before the first. All paths begin with ``root``, which is "" for the
machine itself. What can not be read is left out, and what was left out is not compared.
"""
