"""Snapshots on real storage, managed and unmanaged through the whole service, beside the backend's own renames."""
