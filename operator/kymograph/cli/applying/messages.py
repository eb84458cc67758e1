"""What `kyverno apply` says about an object, word for word: scripts read it."""

from kymograph.apimachinery import yamlwriting
from kymograph.cli.offline import judge
from kymograph.engine import policy
from kymograph.engine.rules import outcome

_MUTATED = "\n\nMutation:\nMutation has been applied successfully."
_GENERATED = "\n\nGenerate:\nGeneration completed successfully."


def key_of(each: policy.CompiledPolicy) -> str:
    """`namespace/name` of a policy; the name of one that is written without a namespace."""
    written = (each.document.get("metadata") or {}).get("namespace")
    return each.key if written else each.name


def path_of(response: judge.Response) -> str:
    """`namespace/Kind/name` of the object."""
    resource = response.resource
    metadata = resource.get("metadata") or {}
    return f"{metadata.get('namespace') or ''}/{resource.get('kind') or ''}/{metadata.get('name') or ''}"


def violations(response: judge.Response, *, softened: bool) -> str:
    """The rules of a policy that failed, and what went wrong with rules that change or make objects.

    Args:
        response: The results of the policy on an object.
        softened: Failures are audit warnings.
    """
    if all(result.status == outcome.PASS for result in response.results):
        return ""
    name, path = response.policy.name, path_of(response)
    lines = []
    for result in response.results:
        if response.type == judge.MUTATE and result.status == outcome.SKIP:
            lines.append(f"\nskipped mutate policy {name} -> resource {path}")
        elif response.type == judge.MUTATE and result.status == outcome.ERROR:
            lines.append(f"\nerror while applying mutate policy {name} -> resource {path} \nerror:  {result.message}")
        elif response.type == judge.GENERATE and result.status == outcome.ERROR:
            lines.append(f"\nerror while applying generate policy {name} -> resource {path} \nerror: {result.message}")
    failed = [result for result in response.results if result.status == outcome.FAIL]
    if failed:
        lines.append(f"policy {name} -> resource {path} {'failed as audit warning:' if softened else 'failed:'}")
        lines += [
            f"{number} - {result.rule.name} {result.message or 'validation failed'}"
            for number, result in enumerate(failed, 1)
        ]
    return "".join(f"{line}\n" for line in lines)


def changes(response: judge.Response, *, piped: bool) -> str:
    """The object that a policy changed with the targets it patched, or the objects it generated, as YAML.

    Args:
        response: The results of the policy on an object.
        piped: Write nothing but the objects.
    """
    written = []
    patched = "".join(f"\n{yamlwriting.dump(each.resource)}\n---\n\n" for each in response.targets)
    if patched and not piped:
        patched = f"patched targets: \n{patched}"
    for text in objects(response):
        head = "" if piped else f"\npolicy {response.policy.name} applied to {path_of(response)}:"
        written.append(f"{head}\n{text}\n---\n{patched}{'' if piped else notice(response)}")
    return "".join(written)


def notice(response: judge.Response) -> str:
    """What is said after each object that `objects` gives, also when it is written to a file."""
    return _GENERATED if response.type == judge.GENERATE else _MUTATED


def objects(response: judge.Response) -> list[str]:
    """The object as a policy with mutate rules left it, or the ones that its generate rules made, as YAML."""
    if response.type == judge.MUTATE:
        return [yamlwriting.dump(response.resource)]
    return [yamlwriting.dump(each) for made in response.generated for each in made]
