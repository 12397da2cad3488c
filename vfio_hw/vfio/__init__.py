"""VFIO's objects in the header's words, and one way to open a device in each IOMMU mode."""
