"""The certificate's bad days: its Secret is lost, broken or expired, or somebody wants a new one, under load."""

import base64
import datetime as dt
import json
import ssl

import pytest
from cryptography import x509

from kymograph.runtime import certificates
from support.installed import eventually
from support.replicas import Load, Pair

pytestmark = pytest.mark.timeout(600)  # the first begins with a control plane and two replicas

SECRET = ("secret", "kymograph-tls", "-n", "kymograph")
NAMES = certificates.Names(("kymograph.kymograph.svc", "kymograph.kymograph.svc.cluster.local"), ("127.0.0.1",))


@pytest.fixture(autouse=True)
def _answers_under_load(pair):
    """Whatever happens to the certificate, no request notices."""
    with Load(pair.cluster, threads=2) as load:
        yield
        load.goes_on()
    assert load.wrong == []


def served(replica) -> x509.Certificate:
    """The certificate that a replica presents to new connections."""
    text = ssl.get_server_certificate(("127.0.0.1", replica.webhook_port), timeout=30)
    return x509.load_pem_x509_certificate(text.encode())


def stored(pair: Pair) -> certificates.Bundle:
    return certificates.from_secret(pair.get(*SECRET)["data"])


def settled(pair: Pair, *, without: x509.Certificate) -> bool:
    """Whether both replicas serve what is stored, another certificate than before, and API servers trust it."""
    if pair.kubectl("get", *SECRET, check=False).returncode != 0:
        return False
    try:
        bundle = stored(pair)
        wanted = x509.load_pem_x509_certificate(bundle.serving.certificate)
    except (certificates.Unparsable, ValueError):
        return False
    return wanted != without and [served(each) for each in pair.replicas] == [wanted] * 2 and trusted(pair, wanted)


def trusted(pair: Pair, certificate: x509.Certificate) -> bool:
    """Whether every webhook of ours is configured with the authority of a certificate."""
    return all(any(_issued(certificate, one) for one in bundle) for bundle in announced(pair))


def announced(pair: Pair) -> list[list[x509.Certificate]]:
    listed = pair.get("validatingwebhookconfigurations", "-l", "app.kubernetes.io/managed-by=kymograph")["items"]
    bundles = [webhook["clientConfig"]["caBundle"] for each in listed for webhook in each["webhooks"]]
    assert bundles
    return [x509.load_pem_x509_certificates(base64.b64decode(bundle)) for bundle in bundles]


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    return certificate.issuer == authority.subject


def test_a_deleted_secret_is_made_again(pair) -> None:
    """With everything new, and the old authority trusted beside the new one."""
    before = served(pair.leader())
    pair.kubectl("delete", *SECRET)
    eventually(lambda: settled(pair, without=before))
    assert trusted(pair, before)


def test_a_corrupted_secret_is_mended(pair) -> None:
    """Rubbish in one key, by hand."""
    before = served(pair.leader())
    pair.kubectl("patch", *SECRET, "-p", '{"data": {"tls.crt": "cnViYmlzaA=="}}')
    eventually(lambda: settled(pair, without=before))


def test_an_expired_certificate_is_replaced(pair) -> None:
    """One that has ended, of an authority that has not, stands in the Secret: a replica takes it for what it is."""
    before, now = served(pair.leader()), dt.datetime.now(dt.UTC)
    bundle = stored(pair)
    authority = certificates.KeyPair(bundle.authorities, bundle.authority_key)
    then = now - dt.timedelta(days=100)
    ended = certificates.issue_serving(authority, NAMES.dns, NAMES.ips, then, dt.timedelta(days=99))
    _put(pair, certificates.Bundle(bundle.authorities, bundle.authority_key, ended))
    eventually(lambda: settled(pair, without=before))
    assert served(pair.leader()).not_valid_after_utc > now


def test_an_expired_authority_is_replaced(pair) -> None:
    """Nothing in the Secret is of any use: it is made anew, and what is served until then stays trusted."""
    before, now = served(pair.leader()), dt.datetime.now(dt.UTC)
    then = now - dt.timedelta(days=400)
    authority = certificates.issue_ca(then, dt.timedelta(days=399))
    ended = certificates.issue_serving(authority, NAMES.dns, NAMES.ips, then)
    _put(pair, certificates.Bundle(authority.certificate, authority.key, ended))
    eventually(lambda: settled(pair, without=before))
    assert trusted(pair, before)


@pytest.mark.parametrize("wish", ["for-the-test", "new-ca-for-the-test"])
def test_a_rotation_on_demand_changes_what_is_asked_for(pair, wish) -> None:
    """The annotation's new value: a new certificate; with the word `ca` in it, a new authority beside the old one."""
    before = served(pair.leader())
    pair.kubectl("annotate", *SECRET, f"kymograph.dev/rotate={wish}")
    eventually(lambda: settled(pair, without=before))
    after = served(pair.leader())
    assert (after.issuer != before.issuer) is ("ca" in wish)
    assert trusted(pair, before)
    assert pair.get(*SECRET)["metadata"]["annotations"]["kymograph.dev/rotated"] == wish
    pair.kubectl("annotate", *SECRET, "kymograph.dev/rotate-")


def _put(pair: Pair, bundle: certificates.Bundle) -> None:
    pair.kubectl("patch", *SECRET, "-p", json.dumps({"data": certificates.to_secret(bundle)}))
