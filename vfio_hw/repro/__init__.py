"""A race that failed, as one C program."""
