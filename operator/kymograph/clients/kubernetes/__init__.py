"""The API server as the operator sees it: plain dicts in and out, a client span around every call."""
