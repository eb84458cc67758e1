"""Which objects a rule is about: the `match` and `exclude` blocks of policies, compiled to closures."""
