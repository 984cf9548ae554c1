"""Values that every package uses: ids, texts, locations, and the fields of log lines."""
