"""Values that every room uses: ids, texts, locations, and the fields of log lines."""
