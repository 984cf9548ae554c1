"""Choose snapshots by names, ages, sizes and origins, without input or output."""
