"""The operator's own authority: what it issues verifies, what it keeps is judged, rotated and stored rightly."""

import base64
import dataclasses
import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from kymograph.runtime import certificates
from kymograph.runtime.certificates import Reason

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
NAMES = certificates.Names(dns=("kymograph.kymograph-system.svc", "localhost"), ips=("127.0.0.1", "::1"))


def load(pair: certificates.KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate)


def policy(authorities: bytes, now: dt.datetime) -> verification.PolicyBuilder:
    store = verification.Store(x509.load_pem_x509_certificates(authorities))
    return verification.PolicyBuilder().store(store).time(now)


def verifies(bundle: certificates.Bundle, now: dt.datetime, trusted: bytes | None = None) -> bool:
    """Whether a client that trusts these authorities (by default the bundle's) accepts the server, by every name."""
    builder = policy(trusted or bundle.authorities, now)
    subjects = [x509.DNSName(name) for name in NAMES.dns]
    subjects += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in NAMES.ips]
    try:
        for subject in subjects:
            builder.build_server_verifier(subject).verify(load(bundle.serving), [])
    except verification.VerificationError:
        return False
    return True


@pytest.fixture(scope="module")
def ca():
    return certificates.issue_ca(NOW)


@pytest.fixture(scope="module")
def bundle():
    return certificates.renew(None, NAMES, NOW)


def test_a_serving_certificate_verifies_for_its_names_and_no_other(bundle):
    assert verifies(bundle, NOW)
    with pytest.raises(verification.VerificationError):
        policy(bundle.authorities, NOW).build_server_verifier(x509.DNSName("kymograph")).verify(
            load(bundle.serving), []
        )


def test_a_client_certificate_carries_user_and_groups_and_verifies_for_clients_only(ca):
    client = load(certificates.issue_client(ca, "kube-apiserver", ["webhooks", "masters"], NOW))
    subject = client.subject
    assert [name.value for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["kube-apiserver"]
    assert [name.value for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["webhooks", "masters"]
    usage = client.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    client.verify_directly_issued_by(load(ca))


def test_extensions_and_serial_numbers_follow_rfc_5280(ca):
    serving = load(certificates.issue_serving(ca, ["a.test"], [], NOW))
    authority = load(ca)

    def value(certificate, kind):
        return certificate.extensions.get_extension_for_class(kind)

    assert value(authority, x509.BasicConstraints).critical
    assert value(authority, x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=0)
    assert value(authority, x509.KeyUsage).value.key_cert_sign
    assert not value(serving, x509.BasicConstraints).value.ca
    assert value(serving, x509.KeyUsage).critical
    assert value(serving, x509.KeyUsage).value.digital_signature
    assert not value(serving, x509.KeyUsage).value.key_cert_sign
    assert list(value(serving, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    identifier = value(authority, x509.SubjectKeyIdentifier).value.digest
    assert value(serving, x509.AuthorityKeyIdentifier).value.key_identifier == identifier
    serials = {load(certificates.issue_serving(ca, ["a.test"], [], NOW)).serial_number for _ in range(20)}
    assert len(serials) == 20
    assert all(serial.bit_length() <= 159 for serial in serials)
    assert max(serials).bit_length() > 140


def test_a_certificate_begins_five_minutes_ago_for_clocks_that_are_behind(ca):
    for pair in (ca, certificates.issue_serving(ca, ["a.test"], [], NOW)):
        assert load(pair).not_valid_before_utc == NOW - dt.timedelta(minutes=5)


def test_no_certificate_outlives_its_authority():
    short = certificates.issue_ca(NOW, lifetime=30 * DAY)
    assert load(certificates.issue_serving(short, ["a.test"], [], NOW)).not_valid_after_utc == NOW + 30 * DAY
    assert load(certificates.issue_client(short, "a", [], NOW)).not_valid_after_utc == NOW + 30 * DAY


def test_a_certificate_for_nobody_is_refused(ca):
    with pytest.raises(ValueError, match="needs a name"):
        certificates.issue_serving(ca, [], [], NOW)


def test_keys_do_not_show_when_a_bundle_is_printed(bundle):
    assert "PRIVATE" not in repr(bundle)


def test_a_secret_holds_the_bundle_under_the_usual_keys(bundle):
    data = certificates.to_secret(bundle)
    assert set(data) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    assert base64.b64decode(data["tls.crt"]) == bundle.serving.certificate
    assert certificates.from_secret(data) == bundle


@pytest.mark.parametrize("change", [{"ca.key": None}, {"tls.crt": None}, {"ca.crt": "%"}, {"tls.key": "ü"}], ids=str)
def test_a_secret_that_is_not_whole_is_unparsable(bundle, change):
    data = {**certificates.to_secret(bundle), **change}
    with pytest.raises(certificates.Unparsable):
        certificates.from_secret({key: value for key, value in data.items() if value is not None})


def replaced(bundle, **changes):
    return dataclasses.replace(bundle, **changes)


def other_serving(bundle, ca=None, names=NAMES, now=NOW, **pair):
    own = certificates.KeyPair(bundle.authorities, bundle.authority_key)
    serving = certificates.issue_serving(ca or own, names.dns, names.ips, now)
    return dataclasses.replace(bundle, serving=dataclasses.replace(serving, **pair))


FINDINGS = {
    "as issued": (lambda bundle, _: bundle, 0, None),
    "more names than needed": (
        lambda bundle, _: other_serving(bundle, names=certificates.Names((*NAMES.dns, "x.test"), NAMES.ips)),
        0,
        None,
    ),
    "ten months later": (lambda bundle, _: bundle, 300, None),
    "two months before its end": (lambda bundle, _: bundle, 306, Reason.EXPIRES_SOON),
    "after its end": (lambda bundle, _: bundle, 365, Reason.EXPIRED),
    "before its begin": (lambda bundle, _: other_serving(bundle, now=NOW + 2 * DAY), 0, Reason.NOT_YET_VALID),
    "two years before the authority's end": (lambda bundle, _: bundle, 3650 - 730, Reason.AUTHORITY_EXPIRES_SOON),
    "after the authority's end": (lambda bundle, _: bundle, 3650, Reason.AUTHORITY_EXPIRED),
    "a name is missing": (
        lambda bundle, _: other_serving(bundle, names=certificates.Names(NAMES.dns[1:], NAMES.ips)),
        0,
        Reason.NAMES,
    ),
    "an address is missing": (
        lambda bundle, _: other_serving(bundle, names=certificates.Names(NAMES.dns, NAMES.ips[1:])),
        0,
        Reason.NAMES,
    ),
    "issued by another": (other_serving, 0, Reason.WRONG_AUTHORITY),
    "a client's": (
        lambda bundle, _: replaced(
            bundle,
            serving=certificates.issue_client(
                certificates.KeyPair(bundle.authorities, bundle.authority_key), "a", [], NOW
            ),
        ),
        0,
        Reason.PURPOSE,
    ),
    "key of another": (lambda bundle, ca: other_serving(bundle, key=ca.key), 0, Reason.KEY),
    "no key": (lambda bundle, _: other_serving(bundle, key=b"key"), 0, Reason.UNPARSABLE),
    "no certificate": (lambda bundle, _: other_serving(bundle, certificate=b""), 0, Reason.UNPARSABLE),
    "authority's key of another": (lambda bundle, ca: replaced(bundle, authority_key=ca.key), 0, Reason.AUTHORITY_KEY),
    "no authority's key": (lambda bundle, _: replaced(bundle, authority_key=b""), 0, Reason.AUTHORITY_UNPARSABLE),
    "no authority": (lambda bundle, _: replaced(bundle, authorities=b"x"), 0, Reason.AUTHORITY_UNPARSABLE),
    "an authority that is none": (
        lambda bundle, _: replaced(bundle, authorities=bundle.serving.certificate, authority_key=bundle.serving.key),
        0,
        Reason.AUTHORITY_KEY,
    ),
}


@pytest.mark.parametrize(("change", "days", "reason"), FINDINGS.values(), ids=FINDINGS.keys())
def test_an_inspection_names_the_gravest_finding(bundle, ca, change, days, reason):
    verdict = certificates.inspect(change(bundle, ca), NAMES, NOW + days * DAY)
    assert (verdict.reason, verdict.ok) == (reason, reason is None)
    assert bool(verdict.detail) == (not verdict.ok)
    assert "PRIVATE" not in verdict.detail


@pytest.mark.parametrize(("change", "days", "reason"), FINDINGS.values(), ids=FINDINGS.keys())
def test_a_renewal_mends_every_finding_and_nothing_else(bundle, ca, change, days, reason):
    found, now = change(bundle, ca), NOW + days * DAY
    mended = certificates.renew(found, NAMES, now)
    assert certificates.inspect(mended, NAMES, now).ok
    assert verifies(mended, now)
    if reason is None:
        assert mended is found
    elif not reason.concerns_authority:
        assert (mended.authorities, mended.authority_key) == (found.authorities, found.authority_key)


def test_a_new_authority_is_trusted_before_it_signs(bundle):
    """Verifiers that have not read the new `ca.crt` yet, and servers that still show the old certificate, go on."""
    due = NOW + 2921 * DAY
    current = certificates.renew(bundle, NAMES, due - 100 * DAY)
    rotated = certificates.renew(current, NAMES, due)
    assert rotated.authorities.endswith(current.authorities)
    assert len(x509.load_pem_x509_certificates(rotated.authorities)) == 2
    assert verifies(rotated, due, trusted=current.authorities)
    later = due + 310 * DAY
    signed = certificates.renew(rotated, NAMES, later)
    assert not verifies(signed, later, trusted=current.authorities)
    assert verifies(signed, later, trusted=rotated.authorities)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40))
@settings(max_examples=20, deadline=None)
def test_no_renewal_ever_cuts_off_who_knows_the_bundle_before(steps):
    """However long a process slept: the old trust accepts the new server, and the new trust accepts the old one."""
    now, current = NOW, certificates.renew(None, NAMES, NOW)
    for days in steps:
        now += days * DAY
        following = certificates.renew(current, NAMES, now)
        assert verifies(following, now)
        assert verifies(following, now, trusted=current.authorities)
        if not load(current.serving).not_valid_after_utc <= now:
            assert verifies(current, now, trusted=following.authorities)
        current = following


class Secrets:
    """A Secret with optimistic concurrency, as the API server keeps it."""

    def __init__(self, stored=None):
        self.stored = stored
        self.writes = 0
        self.before_write = None

    async def read(self):
        return self.stored

    async def write(self, data, annotations, version):
        if self.before_write is not None:
            await self.before_write()
        if version != (self.stored.version if self.stored else None):
            raise certificates.Conflict("the object has been modified")
        self.writes += 1
        kept = self.stored.annotations if self.stored else {}
        self.stored = certificates.Stored(data, f"{self.writes}", {**kept, **annotations})


async def test_replicas_settle_on_the_bundle_of_the_first():
    secrets = Secrets()
    first = certificates.Manager(secrets, NAMES, lambda: NOW)
    second = certificates.Manager(secrets, NAMES, lambda: NOW)
    winner = []

    async def let_first_win():
        secrets.before_write = None
        winner.append(await first.current())

    secrets.before_write = let_first_win
    assert [await second.current()] == winner
    assert secrets.writes == 1
    assert [await first.current()] == winner
    assert secrets.writes == 1


async def test_a_secret_that_is_due_or_broken_is_replaced_in_its_version(bundle):
    for stored, now in [
        (certificates.Stored(certificates.to_secret(bundle), "7"), NOW + 320 * DAY),
        (certificates.Stored({"ca.crt": "?"}, "7"), NOW),
    ]:
        secrets = Secrets(stored)
        current = await certificates.Manager(secrets, NAMES, lambda now=now: now).current()
        assert verifies(current, now)
        assert certificates.from_secret(secrets.stored.data) == current


async def test_an_endless_conflict_is_reported():
    secrets = Secrets()

    async def interfere():
        secrets.stored = certificates.Stored({}, f"{(secrets.stored.version if secrets.stored else '')}x")

    secrets.before_write = interfere
    with pytest.raises(certificates.Conflict):
        await certificates.Manager(secrets, NAMES, lambda: NOW).current()


async def test_a_deleted_secret_is_made_anew_and_the_old_authority_stays_trusted(bundle):
    """What serves until then is not cut off, and a day later it is only the new one that is trusted."""
    secrets, now = Secrets(certificates.Stored(certificates.to_secret(bundle), "7")), NOW
    manager = certificates.Manager(secrets, NAMES, lambda: now)
    before = await manager.current()
    secrets.stored = None
    after = await manager.current()
    assert after.serving != before.serving
    assert verifies(before, now, trusted=after.authorities)
    assert verifies(after, now)
    now += DAY
    later = await manager.current()
    assert later.serving == after.serving
    assert not verifies(before, now, trusted=later.authorities)
    assert verifies(later, now)


@pytest.mark.parametrize(
    ("asked", "authority_too"), [("2026-03-01", False), ("cat", False), ("ca", True), ("new CA, March", True)]
)
async def test_a_rotation_is_done_once_when_it_is_asked_for(bundle, asked, authority_too):
    """A new value of the annotation wants a new certificate; the word `ca` in it a new authority too."""
    stored = certificates.Stored(certificates.to_secret(bundle), "7", {"kymograph.dev/rotate": asked, "a": "b"})
    secrets = Secrets(stored)
    manager = certificates.Manager(secrets, NAMES, lambda: NOW)
    rotated = await manager.current()
    assert rotated.serving != bundle.serving
    assert (rotated.authority_key != bundle.authority_key) is authority_too
    assert verifies(rotated, NOW)
    assert verifies(bundle, NOW, trusted=rotated.authorities)
    assert secrets.stored.annotations == {"kymograph.dev/rotate": asked, "kymograph.dev/rotated": asked, "a": "b"}
    assert await manager.current() == rotated
    assert secrets.writes == 1


def test_replicas_with_different_names_do_not_fight(bundle):
    """Each adds its own names to those that are there, so the second look of both finds all."""
    other = certificates.Names(("elsewhere.test",), ("192.0.2.1",))
    both = certificates.renew(certificates.renew(bundle, other, NOW), NAMES, NOW)
    assert certificates.renew(both, other, NOW) is both
    assert certificates.renew(both, NAMES, NOW) is both


@pytest.mark.parametrize("jump", [-400 * DAY, -DAY, 330 * DAY, 400 * DAY, 4000 * DAY])
def test_after_a_jump_of_the_clock_there_is_a_certificate_that_is_valid(bundle, jump):
    """Whether the clock was wrong before or is now: what verifiers have by their clock is what counts."""
    jumped = certificates.renew(bundle, NAMES, NOW + jump)
    assert verifies(jumped, NOW + jump)
    back = certificates.renew(jumped, NAMES, NOW)
    assert verifies(back, NOW)
