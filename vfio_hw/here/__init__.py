"""What vfio-hw does on the machine that it runs on, and not in a guest."""
