"""`imageRegistry`: what a registry holds under an image's reference."""

from typing import Any, NamedTuple

from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields, needs, values, variables
from kymograph.engine.context.entry import Entry, Query

PROVIDERS = ("default", "google", "azure", "amazon", "github")
"""Registries whose ambient credentials may be used."""


class Credentials(NamedTuple):
    """By which a registry is asked.

    Attributes:
        secrets: Names of pull secrets.
        providers: Names of the registries whose ambient credentials may be used.
        insecure: Plain HTTP is allowed.
    """

    secrets: tuple[str, ...]
    providers: tuple[str, ...]
    insecure: bool


def credentials(holder: fields.Fields) -> Credentials:
    """Read `imageRegistryCredentials`.

    Args:
        holder: What has the field.
    """
    block = fields.Fields(
        holder.raw("imageRegistryCredentials"),
        holder.at("imageRegistryCredentials"),
        holder.problems,
        ("allowInsecureRegistry", "providers", "secrets"),
    )
    return Credentials(
        block.texts("secrets"),
        block.texts("providers", among=PROVIDERS),
        block.boolean("allowInsecureRegistry", default=False),
    )


def read(holder: fields.Fields, name: str, namespace: str) -> Entry | None:  # noqa: ARG001 - one signature for all kinds
    """Compile the entry.

    Args:
        holder: The entry, with `imageRegistry`.
        name: Its name.
        namespace: Namespace of the policy; pull secrets are in the operator's in any case.

    Raises:
        PolicyInvalid: An expression cannot be compiled.
    """
    block = fields.Fields(
        holder.raw("imageRegistry"),
        holder.at("imageRegistry"),
        holder.problems,
        ("reference", "jmesPath", "imageRegistryCredentials"),
    )
    if not block.text("reference"):
        block.wrong("reference", "a ref is required for imageRegistry context entry")
    loader = _ImageRegistry(block, name)
    return Entry(name, loader.load, asks=needs.ImageData, merges=True, counts=True, expressions=loader.expressions)


class _ImageRegistry:
    """Loads one entry."""

    __slots__ = ("_credentials", "_name", "_query", "_reference", "_written", "expressions")

    def __init__(self, block: fields.Fields, name: str) -> None:
        self._name = name
        self._written = block.text("reference")
        self._reference = variables.compile(self._written, block.at("reference"))
        text = block.text("jmesPath")
        self._query = Query(text, block.at("jmesPath")) if text else None
        self._credentials = credentials(block)
        self.expressions = (
            *self._reference.expressions,
            *(self._query.expressions if self._query is not None else ()),
        )

    def load(self, context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        reference = self._resolved(self._reference.resolve, self._written, context, budget)
        if not isinstance(reference, str):
            shown = values.to_text(reference, budget)
            raise errors.EvaluationError(f"invalid image reference {shown}, image reference must be a string")
        query, text = self._query, ""
        if query is not None:
            text = values.to_text(self._resolved(query.resolve, query.text, context, budget), budget)
        try:
            image = budget.ask(needs.ImageData(reference, *self._credentials))
        except errors.Unavailable:
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(f"failed to fetch image descriptor: {reference}, error: {cause}") from cause
        if query is None or not text:
            return image
        try:
            return query.search(text, image, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(
                f"failed to apply JMESPath ({query.text}) results to context entry {self._name}, error: {cause}"
            ) from cause

    def _resolved(self, resolve: Any, written: str, context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        try:
            return resolve(context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(
                f"failed to substitute variables in context entry {self._name} {written}: {cause}"
            ) from cause
