"""The Intel 82574: registers in BAR 0 that keep what is written to them.

Source: Intel 82574 GbE Controller Family Datasheet, section 10.2.5, Multicast Table Array.
"""

#: Offset of the first of so many registers of 4 bytes. Nothing looks at them while nothing is
#: received.
MULTICAST, MULTICAST_COUNT = 0x5200, 128
