"""Errors of the process as a whole, for whoever starts it.

RuntimeFailure
  x SettingsInvalid     a flag or a file it names cannot be used
  x PortTaken           a port cannot be listened on
  x ClusterUnusable     the API server does not answer, or refuses what the operator needs
"""


class RuntimeFailure(Exception):
    """The operator cannot run; the text says what to change."""


class SettingsInvalid(RuntimeFailure):
    """A flag, or a file that a flag names, cannot be used."""


class PortTaken(RuntimeFailure):
    """A port that the operator serves on is in use, or not for this user."""


class ClusterUnusable(RuntimeFailure):
    """The API server does not answer, or refuses what the operator cannot do without."""
