"""`kymograph explain`: what policies match, do and need, and what is wrong with those that are refused.

Exit status: 0, 1 if a policy is refused or a file cannot be read, 2 if the command line itself is wrong.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kymograph.apimachinery import yamlwriting
from kymograph.cli import endings, sources
from kymograph.cli.explaining import served, words
from kymograph.cli.offline import errors, files, policies
from kymograph.controllers.admission import webhooks
from kymograph.engine import compile as compiling
from kymograph.engine import errors as engine_errors
from kymograph.engine import policy, validation
from kymograph.engine.autogen import controllers, rewrite

_ADDRESS = webhooks.Address(ca_pem=b"", url=None, namespace="kymograph", service="kymograph")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "policies", nargs="+", metavar="POLICY", help="a file, folder or glob of policies, or - for standard input"
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "yaml"),
        default="text",
        help="words, or the policies with their rules as they are evaluated, as YAML (default: text)",
    )


@endings.may_be_cut_short
def run(options: argparse.Namespace) -> int:
    """Explain the policies; returns the exit status."""
    status = 0
    try:
        for argument in options.policies:
            for document in sources.documents(argument, strict=True):
                status |= _explain(document, as_yaml=options.output == "yaml")
    except errors.OfflineError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return status


def _explain(document: files.Document, *, as_yaml: bool) -> int:
    value = document.value
    if not isinstance(value, dict) or value.get("kind") not in compiling.KINDS:
        loaded = policies.load([document])
        for problem in (*(each.problem for each in loaded.refused), *loaded.strange):
            sys.stderr.write(f"{problem}\n")
        return 1 if loaded.refused else 0
    try:
        compiled = compiling.compile_policy(value)
    except engine_errors.PolicyInvalid as invalid:
        for each in invalid.problems:
            sys.stderr.write(f"{document.problem(each.path, each.reason)}\n")
        return 1
    if as_yaml:
        sys.stdout.write(f"---\n{yamlwriting.dump(_rewritten(value))}")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(document, compiled))
    return 0


def _lines(document: files.Document, compiled: policy.CompiledPolicy) -> Iterator[str]:
    yield f"{compiled.kind} {compiled.key} ({document.file}:{document.line_of('')})"
    yield f"  action on failure: {words.action(compiled)}; on an error: {compiled.failure_policy}"
    seen = [word for word, on in (("requests", compiled.admission), ("existing objects", compiled.background)) if on]
    yield f"  looks at: {' and '.join(seen)}"
    names = [each.name for each in compiled.rules]
    for index, rule in enumerate(compiled.document["spec"]["rules"]):
        yield from _rule_lines(document, compiled, rule, f"spec.rules[{index}]", names)
    yield "  webhooks:"
    yield from (f"    {line}" for line in _webhook_lines(compiled))
    for warning in validation.warnings(compiled.document):
        yield f"  warning: {warning}"


def _rule_lines(
    document: files.Document,
    compiled: policy.CompiledPolicy,
    rule: Mapping[str, Any],
    path: str,
    names: Sequence[str],
) -> Iterator[str]:
    name = str(rule["name"])
    type_ = next(each.type for each in compiled.rules if each.base_name == name)
    yield f"  rule {name} ({document.file}:{document.line_of(path)})"
    yield f"    {words.does(rule, type_)}"
    yield from (f"    {line}" for line in words.match_lines(rule))
    if rule.get("preconditions"):
        yield "    only if its preconditions hold"
    made = [each for each in names if each in (f"{rewrite.PREFIX}{name}", f"{rewrite.CRON_JOB_PREFIX}{name}")]
    if made:
        yield f"    rewritten for the controllers of Pods: {', '.join(made)}"
    for line in words.context_lines(rule):
        yield f"    asks for {line}"
    expressions = words.variables(rule)
    if expressions:
        yield f"    variables: {', '.join(words.roots(expressions))}"
        yield from (f"      {{{{ {each} }}}}" for each in expressions)


def _webhook_lines(compiled: policy.CompiledPolicy) -> Iterator[str]:
    """The webhooks, from the operator's own derivation, for a cluster that serves what the policy names."""
    catalogue = served.catalogue([compiled])
    configurations = (
        webhooks.mutation_configuration([compiled], catalogue, _ADDRESS),
        webhooks.resource_configuration([compiled], catalogue, _ADDRESS),
    )
    if not any(configurations) or not compiled.admission:
        yield "none"
        return
    for configuration in configurations:
        for webhook in (configuration or {}).get("webhooks", ()):
            yield f"{webhook['name']} (failurePolicy {webhook['failurePolicy']}, {webhook['timeoutSeconds']} s)"
            for rule in webhook["rules"]:
                group = rule["apiGroups"][0] or "core"
                resources = ", ".join(rule["resources"])
                yield f"  {', '.join(rule['operations'])} of {resources} ({group}/{rule['apiVersions'][0]})"


def _rewritten(document: Mapping[str, Any]) -> dict[str, Any]:
    """The policy with the rules that are made for the controllers of Pods beside those written."""
    spec = document["spec"]
    rules = spec["rules"]
    annotations = (document.get("metadata") or {}).get("annotations") or {}
    wanted = controllers.wanted(rules, annotations)
    others = tuple(kind for kind in wanted if kind != controllers.CRON_JOB)
    every = []
    for rule in rules:
        made = [rewrite.for_controllers(rule, others) if others else None]
        made.append(rewrite.for_cron_jobs(rule, wanted) if len(others) < len(wanted) else None)
        every += [rule, *(each for each in made if each is not None)]
    return {**document, "spec": {**spec, "rules": every}}
