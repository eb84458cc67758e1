"""GlobalContextEntries: data that policies share, kept in the memory of every replica that answers reviews."""
