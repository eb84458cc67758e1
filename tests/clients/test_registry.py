"""Looking up images in registries over TLS, and what registries and policies must not be able to do by that."""

import base64
import contextlib
import json

import pytest

from fakes import httpservice, registry
from fakes.resolving import Resolving
from kymograph.clients.http import guard, transport
from kymograph.clients.registry import client, errors
from kymograph.engine import needs
from kymograph.localcluster import pki

CONFIGURATION = {"architecture": "amd64", "os": "linux", "config": {"User": "nobody", "Labels": {"team": "shop"}}}


@pytest.fixture(scope="module")
def authority():
    return pki.Authority("registries")


@pytest.fixture
async def start(authority, tmp_path):
    """Start a registry that is known by these names."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(*names, tls=True):
            pair = authority.server("registry", names)
            context = httpservice.server_context(pair, tmp_path) if tls else None
            return registry.Registry(await stack.enter_async_context(httpservice.served(context)))

        yield make


@pytest.fixture
async def held(start):
    made = await start("registry.example")
    made.push("shop/web", "v1", CONFIGURATION)
    return made


class Secrets(dict):
    """The Secrets of the operator's namespace, by name."""

    async def __call__(self, name):
        return self.get(name)

    def pull(self, name, key, user_and_password="", **entry):
        auth = {"auth": base64.b64encode(user_and_password.encode()).decode()} if user_and_password else {}
        document = json.dumps({"auths": {key: {**auth, **entry}}}).encode()
        self[name] = {
            "metadata": {"name": name},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(document).decode()},
        }


@pytest.fixture
def secrets():
    return Secrets()


@pytest.fixture
async def registries(spans, authority, secrets, monkeypatch, tmp_path):
    """Make clients of registries that trust the authority of these."""
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.pair.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    carriers = []

    def make(*, trusted=("127.0.0.0/8",), clock=lambda: 0.0, always=(), insecure=False, **answers):
        names = {"registry_example": [["127.0.0.1"]], "store_example": [["127.0.0.1"]], **answers}
        carriers.append(transport.Transport(guard.Trusted(trusted), Resolving(**names)))
        return client.Registries(carriers[-1], spans, secrets, clock, pull_secrets=always, insecure=insecure)

    yield make
    for carrier in carriers:
        await carrier.close()


def image(held, rest, **fields):
    return needs.ImageData(f"registry.example:{held.service.port}/{rest}", **fields)


async def test_policies_see_manifest_and_configuration(held, registries) -> None:
    """With the names that Kyverno gives them; an image that is no index has no list."""
    found = await registries().image(image(held, "shop/web:v1"))
    digest = registry.digest(held.manifests["shop/web:v1"][0])
    name = f"registry.example:{held.service.port}"
    assert found == {
        "image": f"{name}/shop/web:v1",
        "resolvedImage": f"{name}/shop/web@{digest}",
        "registry": name,
        "repository": "shop/web",
        "identifier": "v1",
        "manifestList": None,
        "manifest": json.loads(held.manifests["shop/web:v1"][0]),
        "configData": CONFIGURATION,
    }


async def test_of_an_index_it_is_the_image_for_linux_amd64(held, registries) -> None:
    """Whatever else there is; the index is shown too, and the image is named by its digest."""
    amd64 = held.push("shop/web", "", CONFIGURATION)
    arm64 = held.push("shop/web", "", {"architecture": "arm64"})
    platforms = {arm64: {"os": "linux", "architecture": "arm64"}, amd64: {"os": "linux", "architecture": "amd64"}}
    entries = [{"mediaType": registry.MANIFEST, "digest": each, "platform": platforms[each]} for each in platforms]
    digest = held.index("shop/web", "many", *entries)
    found = await registries().image(image(held, "shop/web:many"))
    assert found["configData"] == CONFIGURATION
    assert found["resolvedImage"].endswith(f"shop/web@{digest}")
    assert [each["digest"] for each in found["manifestList"]["manifests"]] == [arm64, amd64]


async def test_an_entry_without_a_platform_is_for_linux_amd64(held, registries) -> None:
    """As go-containerregistry has it; an index without any is of no use."""
    plain = held.push("shop/web", "", CONFIGURATION)
    held.index("shop/web", "plain", {"mediaType": registry.MANIFEST, "digest": plain})
    assert (await registries().image(image(held, "shop/web:plain")))["configData"] == CONFIGURATION
    held.index("shop/web", "empty", {"digest": plain, "platform": {"os": "windows", "architecture": "amd64"}})
    with pytest.raises(errors.ImageInvalid, match="no child with platform"):
        await registries().image(image(held, "shop/web:empty"))


async def test_tag_and_digest_are_both_shown(held, registries) -> None:
    """It is the digest that counts."""
    digest = registry.digest(held.manifests["shop/web:v1"][0])
    found = await registries().image(image(held, f"shop/web:v9@{digest}"))
    assert found["identifier"] == f"v9@{digest}"
    assert found["resolvedImage"].endswith(f"shop/web@{digest}")


async def test_what_is_named_by_digest_is_asked_for_once(held, registries) -> None:
    """A tag may have moved, so it is asked for again; what it leads to is known."""
    client = registries()
    for _ in range(3):
        await client.image(image(held, "shop/web:v1"))
    assert [path.split("/")[-2] for path in held.asked] == ["manifests", "blobs", "manifests", "manifests"]
    digest = registry.digest(held.manifests["shop/web:v1"][0])
    await client.image(image(held, f"shop/web@{digest}"))
    assert len(held.asked) == 4


async def test_one_identity_does_not_see_what_another_was_given(held, registries, secrets) -> None:
    """The cache is no way around a registry's permissions."""
    client = registries()
    secrets.pull("mine", f"registry.example:{held.service.port}", "me:right")
    held.demands, held.password = "basic", "me:right"
    digest = registry.digest(held.manifests["shop/web:v1"][0])
    await client.image(image(held, f"shop/web@{digest}", secrets=("mine",)))
    with pytest.raises(errors.ImageUnavailable, match="demands a password"):
        await client.image(image(held, f"shop/web@{digest}"))


async def test_each_request_has_a_span(held, registries, secrets, exported) -> None:
    """Which repository, and no credentials."""
    secrets.pull("mine", f"registry.example:{held.service.port}", "me:secret")
    held.demands, held.password = "bearer", "me:secret"
    await registries().image(image(held, "shop/web:v1", secrets=("mine",)))
    assert exported.names() == ["REGISTRY manifests", "REGISTRY token", "REGISTRY manifests", "REGISTRY blobs"]
    for span in exported.get_finished_spans():
        assert span.attributes["kymograph.registry.repository"] == f"registry.example:{held.service.port}/shop/web"
        assert span.attributes["kymograph.registry.reference"] == "v1"
        known = {"manifests": "/v2/{name}/manifests/{reference}", "blobs": "/v2/{name}/blobs/{digest}"}
        assert span.attributes.get("url.template") == known.get(span.name.partition(" ")[2])
        assert "?" not in span.attributes.get("url.full", "")
        assert "secret" not in span.to_json()
        assert "t0ken" not in span.to_json()
    assert not any("traceparent" in request.headers for request in held.service.requests)


@pytest.mark.parametrize("demands", ["basic", "bearer"])
async def test_a_pull_secret_opens_a_private_registry(held, registries, secrets, demands) -> None:
    """By password or by token; a wrong one does not."""
    key = f"https://registry.example:{held.service.port}/v2/"
    secrets.pull("right", key, "me:right")
    secrets.pull("wrong", key, "me:wrong")
    held.demands, held.password = demands, "me:right"
    client = registries()
    wanted = image(held, "shop/web:v1", secrets=("missing", "right"))
    assert (await client.image(wanted))["configData"] == CONFIGURATION
    for name in ("wrong", "missing"):
        with pytest.raises(errors.ImageUnavailable) as refused:
            await client.image(image(held, "shop/web:v1", secrets=(name,)))
        assert "me" not in str(refused.value).split(":")


async def test_the_installations_pull_secrets_are_for_every_policy(held, registries, secrets) -> None:
    """After those that it names itself."""
    key = f"registry.example:{held.service.port}"
    secrets.pull("mine", key, "me:right")
    secrets.pull("wrong", key, "me:wrong")
    held.demands, held.password = "basic", "me:right"
    assert await registries(always=("mine",)).image(image(held, "shop/web:v1"))
    assert await registries(always=("wrong",)).image(image(held, "shop/web:v1", secrets=("mine",)))
    with pytest.raises(errors.ImageUnavailable):
        await registries(always=("wrong",)).image(image(held, "shop/web:v1"))


async def test_a_token_is_used_until_shortly_before_its_end(held, registries) -> None:
    """One for each repository and identity."""
    now = 0.0
    client = registries(clock=lambda: now)
    held.demands = "bearer"
    await client.image(image(held, "shop/web:v1"))
    await client.image(image(held, "shop/web:v1"))
    assert held.tokens == 1
    now = 299.0
    await client.image(image(held, "shop/web:v1"))
    assert held.tokens == 2


@pytest.mark.parametrize(
    ("key", "fits"),
    [
        ("registry.example:{port}", True),
        ("https://registry.example:{port}/v1/", True),
        ("*.example:{port}", True),
        ("registry.example:{port}/shop", True),
        ("registry.example:{port}/shop/web", True),
        ("registry.example:{port}/shop/we", False),
        ("registry.example", False),
        ("*", False),
        ("example:{port}", False),
        ("other.example:{port}", False),
    ],
)
async def test_credentials_are_shown_to_their_registry_only(held, registries, secrets, key, fits) -> None:
    """A key is a host with port, perhaps a path, perhaps a wildcard in a label."""
    secrets.pull("mine", key.replace("{port}", str(held.service.port)), username="me", password="right")
    held.demands, held.password = "basic", "me:right"
    lookup = registries().image(image(held, "shop/web:v1", secrets=("mine",)))
    if fits:
        assert (await lookup)["configData"] == CONFIGURATION
    else:
        with pytest.raises(errors.ImageUnavailable, match="demands a password"):
            await lookup
        assert not any("Authorization" in request.headers for request in held.service.requests)


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ({"type": "Opaque", "data": {}}, "no pull secret"),
        ({"type": "kubernetes.io/dockerconfigjson"}, "cannot be read"),
        ({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "bm8="}}, "cannot be read"),
        ({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "W10="}}, "cannot be read"),
    ],
)
async def test_a_secret_that_is_no_pull_secret_is_said_to_be_none(held, registries, secrets, secret, said) -> None:
    """No other Secret of the operator's namespace can be used, or learned anything of."""
    secrets["odd"] = {"metadata": {"name": "odd"}, **secret}
    with pytest.raises(errors.CredentialsInvalid, match=said):
        await registries().image(image(held, "shop/web:v1", secrets=("odd",)))


async def test_secrets_of_other_namespaces_cannot_be_named(held, registries) -> None:
    """The operator may read its own only."""
    with pytest.raises(errors.CredentialsInvalid, match="operator's namespace"):
        await registries().image(image(held, "shop/web:v1", secrets=("kube-system/secret",)))


async def test_a_provider_that_is_not_supported_is_named_where_it_matters(held, registries) -> None:
    """A public image needs none."""
    wanted = image(held, "shop/web:v1", providers=("amazon",))
    await registries().image(wanted)
    held.demands = "basic"
    with pytest.raises(errors.ImageUnavailable, match=r"providers \(amazon\) are not supported"):
        await registries().image(wanted)


async def test_what_is_not_there_is_said_in_the_words_of_the_registry(held, registries) -> None:
    """An error of the specification has a code."""
    with pytest.raises(errors.ImageUnavailable, match="HTTP 404 Not Found: MANIFEST_UNKNOWN"):
        await registries().image(image(held, "shop/web:v2"))


# Attacks


async def test_content_that_is_not_what_its_digest_says_is_refused(held, registries) -> None:
    """Manifests and configurations alike."""
    digest = registry.digest(held.manifests["shop/web:v1"][0])
    held.manifests[f"shop/web@{digest}"] = b"{}", registry.MANIFEST
    with pytest.raises(errors.ImageInvalid, match="digest mismatch"):
        await registries().image(image(held, f"shop/web@{digest}"))
    (blob,) = held.blobs
    held.blobs[blob] = b"{}"
    with pytest.raises(errors.ImageInvalid, match="digest mismatch"):
        await registries().image(image(held, "shop/web:v1"))


@pytest.mark.parametrize("digest", ["sha256:../../../secret", "md5:1", "", "sha512:" + "a" * 128, None, 7])
async def test_a_digest_of_a_manifest_is_no_path(held, registries, digest) -> None:
    """What a registry says is not put into a URL unseen."""
    held.put("shop/web", "odd", {"schemaVersion": 2, "config": {"digest": digest}}, registry.MANIFEST)
    with pytest.raises(errors.ImageInvalid):
        await registries().image(image(held, "shop/web:odd"))
    assert len(held.asked) == 1


@pytest.mark.parametrize("document", [[], "x", {"config": []}, {"manifests": {}}, {"manifests": [1]}])
async def test_a_manifest_of_another_shape_is_no_crash(held, registries, document) -> None:
    """It is said to be invalid."""
    held.put("shop/web", "odd", document, registry.MANIFEST)
    with pytest.raises(errors.ImageInvalid):
        await registries().image(image(held, "shop/web:odd"))


async def test_a_huge_manifest_is_not_read(held, registries) -> None:
    """Registries take none of that size."""
    held.put("shop/web", "huge", {"x": "x" * client.MAX_DOCUMENT}, registry.MANIFEST)
    with pytest.raises(errors.ImageUnavailable, match="max allowed response length"):
        await registries().image(image(held, "shop/web:huge"))


async def test_a_registry_at_a_forbidden_address_is_not_asked(held, registries) -> None:
    """By name or by address, a registry is no way to the operator's own Pod."""
    client = registries(trusted=())
    with pytest.raises(errors.ImageUnavailable, match="refused"):
        await client.image(image(held, "shop/web:v1"))
    with pytest.raises(errors.ImageUnavailable, match="refused"):
        await client.image(needs.ImageData(f"127.0.0.1:{held.service.port}/shop/web", insecure=True))
    assert not held.asked


async def test_a_token_server_at_a_forbidden_address_is_not_asked(held, registries) -> None:
    """The registry names it, so it is checked like a policy's URL."""
    held.demands, held.realm = "bearer", "https://169.254.169.254/latest"
    with pytest.raises(errors.ImageUnavailable, match="link-local"):
        await registries().image(image(held, "shop/web:v1"))


async def test_a_token_server_without_tls_gets_no_password(held, registries, secrets) -> None:
    """Nor is it asked at all."""
    secrets.pull("mine", f"registry.example:{held.service.port}", "me:right")
    held.demands, held.realm = "bearer", f"http://store.example:{held.service.port}/token"
    with pytest.raises(errors.ImageUnavailable, match="without TLS"):
        await registries().image(image(held, "shop/web:v1", secrets=("mine",)))


async def test_blobs_are_fetched_from_where_the_registry_keeps_them(held, start, registries, secrets) -> None:
    """Without the credentials, which are for the registry."""
    store = await start("store.example")
    store.blobs = held.blobs
    held.elsewhere = f"https://store.example:{store.service.port}"
    secrets.pull("mine", f"registry.example:{held.service.port}", "me:right")
    held.demands, held.password = "basic", "me:right"
    found = await registries().image(image(held, "shop/web:v1", secrets=("mine",)))
    assert found["configData"] == CONFIGURATION
    assert [("Authorization" in request.headers) for request in store.service.requests] == [False]


@pytest.mark.parametrize(
    ("elsewhere", "said"),
    [("https://169.254.169.254", "link-local"), ("http://store.example", "without TLS"), ("https://[::1]", "refused")],
)
async def test_blobs_are_not_fetched_from_forbidden_places(held, registries, elsewhere, said) -> None:
    """Each hop passes the guard."""
    held.elsewhere = elsewhere
    with pytest.raises(errors.ImageUnavailable, match=said):
        await registries().image(image(held, "shop/web:v1"))


async def test_plain_http_is_spoken_only_where_the_policy_allows_it(start, registries) -> None:
    """And only with a registry that speaks no TLS."""
    plain = await start("registry.example", tls=False)
    plain.push("shop/web", "v1", CONFIGURATION)
    with pytest.raises(errors.ImageUnavailable, match="no TLS"):
        await registries().image(image(plain, "shop/web:v1"))
    found = await registries().image(image(plain, "shop/web:v1", insecure=True))
    assert found["configData"] == CONFIGURATION
    assert await registries(insecure=True).image(image(plain, "shop/web:v1")) == found, "as the installation says"


async def test_a_certificate_of_a_stranger_is_not_trusted(held, registries) -> None:
    """The registry's name must be in it."""
    with pytest.raises(errors.ImageUnavailable, match="certificate"):
        await registries().image(needs.ImageData(f"store.example:{held.service.port}/shop/web:v1"))
