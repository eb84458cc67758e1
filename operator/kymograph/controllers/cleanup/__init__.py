"""The cleanup controller: removes what is due to be removed."""
