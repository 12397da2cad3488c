"""The sample display mdpy: where its config space describes the picture, 4 bytes each.

Source: samples/vfio-mdev/mdpy-defs.h of the kernel.
"""

FORMAT, WIDTH, HEIGHT = 0x44, 0x48, 0x4C
