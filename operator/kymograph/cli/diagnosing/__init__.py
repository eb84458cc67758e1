"""`kymograph doctor`: what is wrong with an installation, found from outside of it.

A check reports what it saw. Where it cannot see (no right to read, nobody there to ask) it says so and why, and never
takes that for health or for illness.
"""
