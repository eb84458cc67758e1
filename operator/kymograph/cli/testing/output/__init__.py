"""How the reports of tests are written: a table for people, one document for programs."""
