"""What a rule demands of an object that it matches: the bodies of `validate`, compiled, and the wording of results."""
