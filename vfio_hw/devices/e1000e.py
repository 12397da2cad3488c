"""The Intel 82574: registers in BAR 0 that keep what is written to them.

Source: Intel 82574 GbE Controller Family Datasheet, Multicast Table Array.
"""

#: Offset of the first of 128 registers of 4 bytes. Nothing looks at them while nothing is
#: received.
MULTICAST = 0x5200
