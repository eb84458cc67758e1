"""Background scans: what policies say of objects that nobody sends to the webhooks at the moment."""
