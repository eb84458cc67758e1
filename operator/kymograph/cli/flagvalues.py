"""What the values of flags mean: each reads one as it was typed, or says what it should have been.

All raise `argparse.ArgumentTypeError`, whose text argparse shows behind the flag's name.
"""

import argparse
import math
import urllib.parse
from collections.abc import Iterable

from kymograph.apimachinery import duration
from kymograph.model import policyreport
from kymograph.runtime import settings


def controllers(text: str) -> frozenset[str]:
    """Controllers, comma-separated; at least one."""
    chosen = _chosen(text, settings.CONTROLLERS)
    if not chosen:
        raise argparse.ArgumentTypeError(f"nothing: choose from {','.join(settings.CONTROLLERS)}")
    return chosen


def port(text: str) -> int:
    """A port."""
    number = int(text) if text.isdecimal() else 0
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{text}: a port is a number from 1 to 65535")
    return number


def seconds(text: str) -> float:
    """A time in seconds."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be a number of seconds, not negative")
    return number


def timeout(text: str) -> int:
    """The timeout of a webhook, in seconds, as API servers take it."""
    if not text.isdecimal() or not 1 <= int(text) <= 30:
        raise argparse.ArgumentTypeError(f"{text}: must be a number of seconds from 1 to 30")
    return int(text)


def boolean(text: str) -> bool:
    """What Go reads as true or false; a flag alone is true."""
    if text.lower() not in ("true", "t", "1", "false", "f", "0"):
        raise argparse.ArgumentTypeError(f"{text}: must be true or false")
    return text.lower() in ("true", "t", "1")


def names(text: str) -> frozenset[str]:
    """Words, comma-separated; perhaps none."""
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def interval(text: str) -> float:
    """A duration as Go writes it, in seconds; at least a minute."""
    try:
        nanoseconds = duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error
    if nanoseconds < duration.MINUTE:
        raise argparse.ArgumentTypeError(f"{text}: must be at least a minute, 1m")
    return nanoseconds / duration.SECOND


def reasons(text: str) -> frozenset[str]:
    """Reasons of Events, comma-separated."""
    return _chosen(text, ("PolicyViolation", "PolicyApplied", "PolicyError", "PolicySkipped"))


def results(text: str) -> frozenset[str]:
    """Results of rules, comma-separated."""
    return _chosen(text, policyreport.RESULTS)


def trusted(text: str) -> tuple[str, ...]:
    """Hosts, addresses and networks, comma-separated."""
    from kymograph.clients.http import guard  # noqa: PLC0415  # imports aiohttp, which `--help` need not wait for

    entries = tuple(sorted(names(text)))
    try:
        guard.Trusted(entries)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return entries


def size(text: str) -> int:
    """A number, at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a number, at least 1")
    return int(text)


def https_url(text: str) -> str:
    """A base URL as API servers take it for a webhook (`clientConfig.url`)."""
    parts = urllib.parse.urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text}: must be https://HOST[:PORT][/PATH]")
    return text.rstrip("/")


def _chosen(text: str, known: Iterable[str]) -> frozenset[str]:
    chosen = names(text)
    unknown = chosen.difference(known)
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {','.join(known)}")
    return chosen
