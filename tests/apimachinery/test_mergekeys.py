"""The table of merge keys is the one that a real API server publishes."""

import json

from kymograph.apimachinery import mergekeys
from support import mergetable


def test_the_table_agrees_with_the_api_server(cluster, kubectl):
    published = json.loads(kubectl("get", "--raw", "/openapi/v2").stdout)

    types, kinds = mergetable.derive(published)

    assert (types, kinds) == (mergekeys.TYPES, mergekeys.KINDS), "make it anew: see tests/support/mergetable.py"
