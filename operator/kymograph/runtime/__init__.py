"""Puts the process together: settings, wiring, lifecycle, certificates, health."""
