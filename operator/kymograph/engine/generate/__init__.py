"""Rules that make other objects: what should exist because of what. Pure; nothing is written here."""
