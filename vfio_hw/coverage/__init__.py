"""Which lines of VFIO a run reaches: collected in guests, merged, told."""
