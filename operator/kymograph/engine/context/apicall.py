"""`apiCall`: an answer of the API server or of a service.

A namespaced policy may call the API server for its own namespace only, and no service (see `confinement`).
"""

from typing import Any

from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields, needs, values, variables
from kymograph.engine.context import confinement
from kymograph.engine.context.entry import Entry, Query

METHODS = ("GET", "POST")


def read(holder: fields.Fields, name: str, namespace: str) -> Entry | None:
    """Compile the entry.

    Args:
        holder: The entry, with `apiCall`.
        name: Its name.
        namespace: Namespace of the policy; empty for a policy of the cluster.

    Raises:
        PolicyInvalid: An expression cannot be compiled.
    """
    block = fields.Fields(
        holder.raw("apiCall"),
        holder.at("apiCall"),
        holder.problems,
        ("urlPath", "service", "method", "data", "jmesPath", "default"),
    )
    if block.text("urlPath") and "service" in block:
        holder.problems.add(block.path, "a URLPath cannot be used for service API calls")
    service = fields.Fields(block.raw("service"), block.at("service"), holder.problems, ("url", "caBundle", "headers"))
    if "service" in block and not service.text("url"):
        service.wrong("url", "a url is required for service API calls")
    service.text("caBundle")
    for header, path in service.items("headers"):
        pair = fields.Fields(header, path, holder.problems, ("key", "value"))
        pair.text("key")
        pair.text("value")
    for item, path in block.items("data"):
        pair = fields.Fields(item, path, holder.problems, ("key", "value"))
        if not pair.text("key"):
            pair.wrong("key", "a key is required")
    block.text("method", among=METHODS)
    loader = _APICall(block, name, namespace)
    asks = needs.ServiceCall if "service" in block else needs.APICall
    return Entry(name, loader.load, asks=asks, merges=True, counts=True, expressions=loader.expressions)


class _APICall:
    """Loads one entry."""

    __slots__ = ("_call", "_default", "_name", "_namespace", "_query", "_written", "expressions")

    def __init__(self, block: fields.Fields, name: str, namespace: str) -> None:
        self._name = name
        self._namespace = namespace
        self._written = block.text("urlPath")
        call = {
            field: block.raw(field)
            for field in ("urlPath", "service", "method", "data", "jmesPath", "default")
            if field in block
        }
        self._call = variables.compile(call, block.path)
        self._default = block.raw("default")
        text = block.text("jmesPath")
        self._query = Query(text, block.at("jmesPath")) if text else None
        self.expressions = self._call.expressions

    def load(self, context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        try:
            answer = self._answer(context, budget)
        except (errors.BudgetExhausted, errors.Unavailable):
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(f"failed to fetch data for APICall: {cause}") from cause
        if answer is self._default and self._default is not None:
            return answer
        try:
            return self._searched(answer, context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(f"failed to store data for APICall: {cause}") from cause

    def _answer(self, context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        try:
            call = self._call.resolve(context, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(
                f"failed to substitute variables in context entry {self._name} {self._written}: {cause}"
            ) from cause
        need, failed = self._need(call, budget)
        try:
            return budget.ask(need)
        except errors.Unavailable:
            raise
        except errors.EvaluationError as cause:
            if self._default is not None:
                return self._default
            raise errors.EvaluationError(f"{failed}: {cause}") from cause

    def _need(self, call: dict[str, Any], budget: budgets.Budget) -> tuple[needs.Need, str]:
        """What to ask for, and what to say if there is no answer."""
        method = values.to_text(call.get("method") or "GET", budget)
        path = values.to_text(call.get("urlPath") or "", budget)
        body = _body(call.get("data"), budget) if method == "POST" else b""
        if path or self._namespace:
            path = confinement.within(path, self._namespace)
            return needs.APICall(path, method, body), f"failed to {method} resource with raw url: {path}"
        service = call.get("service")
        if not isinstance(service, dict):
            raise errors.EvaluationError(f"missing service for APICall {self._name}")
        headers = tuple(
            (values.to_text(each.get("key") or "", budget), values.to_text(each.get("value") or "", budget))
            for each in service.get("headers") or ()
        )
        asked = needs.ServiceCall(
            url=values.to_text(service.get("url") or "", budget),
            method=method,
            headers=headers,
            body=body,
            ca_bundle=values.to_text(service.get("caBundle") or "", budget),
        )
        return asked, f"failed to execute HTTP request for APICall {self._name}"

    def _searched(self, answer: values.JSON, context: dict[str, Any], budget: budgets.Budget) -> values.JSON:
        query = self._query
        if query is None:
            return answer
        try:
            text = values.to_text(query.resolve(context, budget), budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(
                f"failed to substitute variables in context entry {self._name} JMESPath {query.text}: {cause}"
            ) from cause
        try:
            return query.search(text, answer, budget)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as cause:
            raise errors.EvaluationError(
                f"failed to apply JMESPath {text} for context entry {self._name}: {cause}"
            ) from cause


def _body(data: Any, budget: budgets.Budget) -> bytes:
    """The JSON object that `data`, a list of keys and values, stands for."""
    pairs = {values.to_text(each.get("key") or "", budget): each.get("value") for each in data or ()}
    return values.to_json(pairs, budget).encode()
