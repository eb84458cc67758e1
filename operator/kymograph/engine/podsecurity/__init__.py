"""The Pod Security Standards of Kubernetes, control by control and version by version.

`pods` is what the checks see of a Pod, `baseline` and `restricted` are the checks, `standards` chooses those of a
level and version, `exclusions` takes back what a policy or an exception excludes, `violations` words the rest. Pure:
an object goes in, violations come out. What is judged, in which order, and the wording follow Kyverno's use of the
standards, which is stricter than Pod Security Admission: a control counts in every version, even one older than it.
"""
