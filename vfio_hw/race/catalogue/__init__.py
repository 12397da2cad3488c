"""What can be done with a VFIO device, what may happen to it meanwhile, and what may come of it."""
