"""Errors of looking up images, by who has to react.

RegistryError
  x ReferenceInvalid      whoever wrote the image or the policy
  x CredentialsInvalid    whoever made the pull secret, or named it in the policy
  x ImageUnavailable      whoever runs the registry, or nobody at first: no answer, no such image, not for us
  x ImageInvalid          whoever pushed the image: what the registry holds is no image, or not what its digest says
"""


class RegistryError(Exception):
    """The root of what looking up an image raises."""


class ReferenceInvalid(RegistryError):
    """The text is no reference to an image."""


class CredentialsInvalid(RegistryError):
    """A pull secret is missing or is none."""


class ImageUnavailable(RegistryError):
    """The registry does not give the image."""


class ImageInvalid(RegistryError):
    """What the registry gives is no image that can be looked into."""
