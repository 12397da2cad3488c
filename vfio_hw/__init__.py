"""vfio-hw: a torture and conformance harness for Linux VFIO."""
