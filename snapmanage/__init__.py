"""Brings snapshots that already exist on a storage backend under management."""
