"""The background controller: work that follows a change and that no request waits for."""
