"""The reports controller: results of policies as resources that people can read."""
