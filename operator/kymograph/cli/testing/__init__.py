"""`kymograph test`: the tests that lie beside policies (`kyverno-test.yaml`), with Kyverno's verdict for every row."""
