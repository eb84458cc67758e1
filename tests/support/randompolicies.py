"""Random policies, objects and requests, drawn from a `random.Random`: what the engine is fuzzed with.

Most of what is drawn is well formed, so that evaluations get far; then, in a part of the documents, one value is
replaced by another from anywhere, which is how manifests written by hand go wrong. The same generator gives the same
document, so a seed reproduces a failure.
"""

import copy
import random
from collections.abc import Callable
from typing import Any

from kymograph.engine.conditions import operators
from kymograph.engine.jmespath import functions
from kymograph.engine.podsecurity import standards

KINDS = {
    "Pod": ("", "v1", "pods"),
    "Deployment": ("apps", "v1", "deployments"),
    "CronJob": ("batch", "v1", "cronjobs"),
    "ConfigMap": ("", "v1", "configmaps"),
    "Namespace": ("", "v1", "namespaces"),
}
_JUNK: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        10**30,
        "",
        "x",
        "*",
        "?",
        "{{",
        "}}",
        "{{ @ }}",
        "1Gi",
        "5m",
        "=(a)",
        "^(b)",
        "-",
    ),
    *(
        [],
        {},
        [[]],
        [{}],
        {"": ""},
        {"a": {"b": [1]}},
        ["x", 1, None],
        {"(a)": "b"},
        {"any": []},
        "a" * 300,
        "\u0000é😀",
    ),
)
_WORDS = ("web", "db", "prod", "a", "b-1", "team", "v1.2.3", "nginx:1.25", "ghcr.io/org/app", "10", "100Mi", "1h", "2")
_NAMES = ("*", "web", "w?b", "prod-*", "kube-*", "db")
_KEYS = ("metadata", "spec", "labels", "name", "containers", "image", "data", "replicas", "team", "securityContext")
_LITERALS = ("`1`", "`true`", "`null`", "`[]`", "`{}`", "'web'", "'1Gi'", "'1h'", "`[1,2]`", '`{"a":1}`', "'a*'")
_PREFIXES = ("", "", "", "!", ">", ">=", "<", "<=", "?", "*")
_ANCHORS = ("({})", "=({})", "X({})", "<({})")
_MERGED_ANCHORS = ("({})", "<({})", "+({})")
_ROOTS = ("request.object", "request.object.spec", "request.oldObject", "request", "images")


class Maker:
    """Draws policies and requests.

    Args:
        source: Where randomness comes from.
        broken: How many of the documents have one wrong value, from 0 to 1.
    """

    def __init__(self, source: random.Random, broken: float = 0.3) -> None:
        self._source = source
        self._broken = broken
        self._roots = _ROOTS
        self._anchors = _ANCHORS

    def policy(self) -> dict[str, Any]:
        """A ClusterPolicy or Policy."""
        kind = "Policy" if self._maybe(0.1) else "ClusterPolicy"
        rules = [self._rule(f"rule-{index}") for index in range(self._source.randint(1, 3))]
        spec: dict[str, Any] = {"rules": rules, "background": self._maybe(0.2)}
        self._put(spec, "validationFailureAction", 0.3, lambda: self._one(("Audit", "Enforce", "enforce")))
        self._put(spec, "applyRules", 0.1, lambda: "One")
        metadata: dict[str, Any] = {"name": "fuzzed"}
        if kind == "Policy":
            metadata["namespace"] = "shop"
        return self._damaged(
            {"apiVersion": "kyverno.io/v1", "kind": kind, "metadata": metadata, "spec": spec}, self._broken
        )

    def request(self) -> dict[str, Any]:
        """An AdmissionRequest on a random object."""
        kind = self._one(tuple(KINDS))
        group, version, resource = KINDS[kind]
        operation = self._one(("CREATE", "CREATE", "UPDATE", "DELETE"))
        new = None if operation == "DELETE" else self._object(kind)
        old = None if operation == "CREATE" else self._object(kind)
        return {
            "uid": "u",
            "kind": {"group": group, "version": version, "kind": kind},
            "resource": {"group": group, "version": version, "resource": resource},
            "name": "web",
            "namespace": "" if kind == "Namespace" else "shop",
            "operation": operation,
            "object": new,
            "oldObject": old,
            "userInfo": {"username": "system:serviceaccount:shop:bot", "groups": ["staff"]},
        }

    def value(self, depth: int = 3) -> Any:
        """A JSON value: what an API server, a service or a registry may answer."""
        if depth == 0 or self._maybe(0.5):
            return self._one((*_WORDS, 1, 0, True, None, 1.5))
        if self._maybe(0.4):
            return [self.value(depth - 1) for _ in range(self._source.randint(0, 3))]
        return {self._one(_KEYS): self.value(depth - 1) for _ in range(self._source.randint(0, 3))}

    def _rule(self, name: str) -> dict[str, Any]:
        self._roots, self._anchors = _ROOTS, _ANCHORS
        rule: dict[str, Any] = {"name": name, "match": self._match()}
        self._put(rule, "exclude", 0.2, self._match)
        self._put(rule, "context", 0.3, self._context)
        if "context" in rule:
            self._roots += tuple(entry["name"] for entry in rule["context"])
        self._put(rule, "preconditions", 0.3, self._conditions)
        self._put(rule, "reportProperties", 0.1, lambda: {"a": self._text()})
        body = self._source.random()
        if body < 0.7:
            rule["validate"] = self._validate()
        elif body < 0.9:
            rule["mutate"] = self._mutate()
        else:
            rule["generate"] = self._generate()
        return rule

    def _match(self) -> dict[str, Any]:
        form = self._source.random()
        if form < 0.2:
            return {"resources": self._resources()}
        return {self._one(("any", "all")): [self._filter() for _ in range(self._source.randint(1, 2))]}

    def _filter(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"resources": self._resources()}
        self._put(entry, "subjects", 0.1, lambda: [{"kind": "User", "name": self._one(_NAMES)}])
        self._put(entry, "clusterRoles", 0.05, lambda: [self._one(_NAMES)])
        return entry

    def _resources(self) -> dict[str, Any]:
        found: dict[str, Any] = {"kinds": ["*" if self._maybe(0.03) else self._one((*KINDS, "Pod", "apps/v1/*"))]}
        self._put(found, "names", 0.15, lambda: [self._one(_NAMES)])
        self._put(found, "namespaces", 0.15, lambda: [self._one((*_NAMES, "shop"))])
        self._put(found, "operations", 0.15, lambda: [self._one(("CREATE", "UPDATE", "DELETE"))])
        self._put(found, "annotations", 0.05, lambda: {self._one(_NAMES): self._one(_NAMES)})
        self._put(found, "selector", 0.1, self._selector)
        self._put(found, "namespaceSelector", 0.1, self._selector)
        return found

    def _selector(self) -> dict[str, Any]:
        if self._maybe(0.5):
            return {"matchLabels": {self._one(("team", "te*", "a")): self._one(("web", "*", "w?b"))}}
        operator = self._one(("In", "NotIn", "Exists", "DoesNotExist"))
        entry: dict[str, Any] = {"key": "team", "operator": operator}
        if operator in {"In", "NotIn"}:
            entry["values"] = [self._one(("web", "db"))]
        return {"matchExpressions": [entry]}

    def _validate(self, depth: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if depth == 0:
            self._put(found, "message", 0.7, self._text)
            self._put(found, "failureAction", 0.2, lambda: self._one(("Audit", "Enforce")))
        return {**found, **self._body(depth)}

    def _body(self, depth: int) -> dict[str, Any]:
        body = self._source.random()
        if body < 0.4:
            return {"pattern": self._pattern()}
        if body < 0.5:
            return {"anyPattern": [self._pattern() for _ in range(self._source.randint(1, 3))]}
        if body < 0.75 or depth > 1:
            return {"deny": {"conditions": self._conditions()}}
        if body < 0.85 and depth == 0:
            return {"podSecurity": self._pod_security()}
        return {"foreach": [self._foreach(depth) for _ in range(self._source.randint(1, 2))]}

    def _foreach(self, depth: int) -> dict[str, Any]:
        entry: dict[str, Any] = {"list": self._list()}
        self._roots += ("element", "elementIndex")
        self._put(entry, "elementScope", 0.2, lambda: self._maybe(0.5))
        self._put(entry, "context", 0.2, self._context)
        self._put(entry, "preconditions", 0.2, self._conditions)
        return {**entry, **self._body(depth + 1)}

    def _list(self) -> str:
        common = (
            "request.object.spec.containers",
            "request.object.metadata.labels",
            "element.ports",
            "images.containers",
        )
        return self._one(common) if self._maybe(0.8) else self._expression()

    def _pod_security(self) -> dict[str, Any]:
        found: dict[str, Any] = {"level": self._one(standards.LEVELS)}
        self._put(found, "version", 0.7, lambda: self._one(("latest", "v1.0", "v1.24", "v1.29", "v1.36")))
        self._put(
            found,
            "exclude",
            0.4,
            lambda: [
                {"controlName": self._one(tuple(standards.NAMES)), **({"images": ["*"]} if self._maybe(0.5) else {})}
                for _ in range(self._source.randint(1, 3))
            ],
        )
        return found

    def _mutate(self) -> dict[str, Any]:
        self._anchors = _MERGED_ANCHORS
        if self._maybe(0.4):
            return {"patchStrategicMerge": self._pattern()}
        if self._maybe(0.5):
            return {"patchesJson6902": self._patches()}
        entry: dict[str, Any] = {"list": self._list()}
        self._roots += ("element",)
        entry |= {"patchesJson6902": self._patches()} if self._maybe(0.5) else {"patchStrategicMerge": self._pattern()}
        return {"foreach": [entry]}

    def _patches(self) -> str:
        operation = self._one(("add", "replace", "remove", "test", "copy", "move"))
        path = self._one(("/metadata/labels/a", "/spec/containers/-", "/spec/containers/0/image", "/data/k", "/", ""))
        return f"- op: {operation}\n  path: {path}\n  from: /metadata/labels\n  value: {self._one(_WORDS)}\n"

    def _generate(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": self._text(),
            "namespace": self._one(("shop", "{{ request.namespace }}", "{{ request.object.metadata.name }}")),
            "synchronize": self._maybe(0.5),
        }
        if self._maybe(0.6):
            return {**found, "data": {"data": {"k": self._text()}}}
        return {**found, "clone": {"namespace": "shop", "name": self._text()}}

    def _context(self) -> list[dict[str, Any]]:
        makers: tuple[Callable[[], dict[str, Any]], ...] = (
            lambda: {"variable": {"jmesPath": self._expression(), **self._default()}},
            lambda: {"variable": {"value": self.value()}},
            lambda: {"configMap": {"name": self._text(), "namespace": "shop"}},
            lambda: {"apiCall": {"urlPath": "/api/v1/namespaces/shop/pods", "jmesPath": self._expression("@")}},
            lambda: {"globalReference": {"name": "entry", "jmesPath": self._expression("@")}},
            lambda: {"imageRegistry": {"reference": self._text()}},
        )
        return [{"name": f"entry{index}", **self._one(makers)()} for index in range(self._source.randint(1, 3))]

    def _default(self) -> dict[str, Any]:
        return {"default": self.value(1)} if self._maybe(0.3) else {}

    def _conditions(self) -> Any:
        conditions = [self._condition() for _ in range(self._source.randint(1, 3))]
        return {self._one(("any", "all")): conditions} if self._maybe(0.8) else conditions

    def _condition(self) -> dict[str, Any]:
        values = (self._text, lambda: [self._text() for _ in range(2)], lambda: self.value(1), lambda: "1-10")
        found = {"key": self._text(), "operator": self._one(tuple(operators.TABLE)), "value": self._one(values)()}
        self._put(found, "message", 0.2, self._text)
        return found

    def _pattern(self, depth: int = 4) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self._source.randint(1, 3)):
            key = self._one(_KEYS)
            if self._anchors is _ANCHORS and depth > 1 and self._maybe(0.05):
                found[f"^({key})"] = [self._pattern(depth - 1)]
                continue
            if self._maybe(0.25):
                key = self._one(self._anchors).format(key)
            found[key] = self._pattern_value(depth - 1)
        return found

    def _pattern_value(self, depth: int) -> Any:
        shape = self._source.random()
        if depth == 0 or shape < 0.4:
            if self._maybe(0.3):
                return self._one((None, True, False, 0, 1, 1.5))
            parts = [self._one(_PREFIXES) + self._one((*_WORDS, "1-10", "1Mi-1Gi", "?*")) for _ in range(2)]
            return self._one((parts[0], f"{parts[0]} | {parts[1]}", f"{parts[0]} & {parts[1]}", self._text()))
        if shape < 0.6:
            return [self._pattern_value(depth - 1) for _ in range(self._source.randint(0, 2))]
        return self._pattern(depth)

    def _text(self) -> str:
        if self._maybe(0.5):
            return self._one(_WORDS)
        return f"{self._one(('', 'x-'))}{{{{ {self._expression()} }}}}{self._one(('', ' {{ request.operation }}'))}"

    def _expression(self, root: str = "", depth: int = 3) -> str:
        left = root or self._one(self._roots)
        for _ in range(self._source.randint(0, depth)):
            left = self._step(left, depth)
        return left

    def _step(self, left: str, depth: int) -> str:
        if depth <= 0:
            return f"{left}.{self._one(_KEYS)}"
        step = self._source.randrange(12)
        if step < 5:
            return f"{left}.{self._one(_KEYS)}"
        if step == 5:
            return left + self._one(("[]", "[*]", "[0]", "[-1]", "[1:3]", ".*", "[::-1]", "[?@]"))
        if step == 6:
            return f"{left}[?{self._one(_KEYS)} {self._one(('==', '!=', '<', '>='))} {self._one(_LITERALS)}]"
        if step == 7:
            return f"{left} | {self._expression('@', depth - 1)}"
        if step == 8:
            return f"{left} {self._one(('||', '&&'))} {self._operand(depth)}"
        if step == 9:
            return f"{left}.{{a: {self._operand(depth - 1)}, b: @}}"
        return self._call(left, depth)

    def _call(self, left: str, depth: int) -> str:
        function = functions.TABLE[self._one(tuple(sorted(functions.TABLE)))]
        arguments = [self._operand(depth - 1) for _ in function.parameters]
        if arguments:
            arguments[0] = left
        if self._maybe(0.1):
            arguments.append("&@")
        return f"{function.name}({', '.join(arguments)})"

    def _operand(self, depth: int) -> str:
        if depth <= 0 or self._maybe(0.5):
            return self._one((*_LITERALS, "@", "&@", "request.object.metadata.name"))
        return self._expression(depth=depth - 1)

    def _object(self, kind: str) -> dict[str, Any]:
        group, version, _ = KINDS[kind]
        metadata = {
            "name": self._one(("web", "db", "prod-1")),
            "labels": {self._one(("team", "a")): self._one(_WORDS)},
            "annotations": {"a": "b"},
        }
        if kind != "Namespace":
            metadata["namespace"] = "shop"
        made: dict[str, Any] = {
            "apiVersion": f"{group}/{version}" if group else version,
            "kind": kind,
            "metadata": metadata,
        }
        if kind == "ConfigMap":
            made["data"] = {self._one(_KEYS): self._one(_WORDS)}
        elif kind != "Namespace":
            template = {"metadata": copy.deepcopy(metadata), "spec": self._pod_spec()}
            if kind == "Pod":
                made["spec"] = template["spec"]
            elif kind == "CronJob":
                made["spec"] = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}
            else:
                made["spec"] = {"replicas": self._source.randint(0, 3), "template": template}
        return self._damaged(made, self._broken)

    def _pod_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "containers": [self._container(f"c{index}") for index in range(self._source.randint(1, 3))]
        }
        self._put(spec, "initContainers", 0.3, lambda: [self._container("init")])
        self._put(spec, "hostNetwork", 0.2, lambda: self._maybe(0.5))
        self._put(spec, "securityContext", 0.3, lambda: {"runAsNonRoot": True, "sysctls": [{"name": "kernel.msgmax"}]})
        self._put(spec, "volumes", 0.3, lambda: [{"name": "v", self._one(("hostPath", "emptyDir", "nfs")): {}}])
        return spec

    def _container(self, name: str) -> dict[str, Any]:
        made: dict[str, Any] = {"name": name, "image": self._one(("nginx", "ghcr.io/org/app:v1", "bad image", ""))}
        self._put(made, "ports", 0.4, lambda: [{"containerPort": 80, "hostPort": self._one((0, 80))}])
        self._put(made, "resources", 0.3, lambda: {"limits": {"memory": self._one(_WORDS)}})
        security = {"privileged": True, "capabilities": {"add": ["NET_RAW"]}, "seLinuxOptions": {"type": "spc_t"}}
        self._put(made, "securityContext", 0.5, lambda: dict(self._source.sample(sorted(security.items()), 2)))
        return made

    def _damaged(self, document: dict[str, Any], likely: float) -> dict[str, Any]:
        """The document, sometimes with one value, or one key, replaced."""
        if not self._maybe(likely):
            return document
        places: list[tuple[Any, Any]] = []
        waiting: list[Any] = [document]
        while waiting:
            holder = waiting.pop()
            for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
                places.append((holder, key))
                if isinstance(value, dict | list):
                    waiting.append(value)
        holder, key = self._one(places)
        if isinstance(holder, dict) and self._maybe(0.2):
            holder[f"{key}x"] = holder.pop(key)
        elif self._maybe(0.3):
            other, at = self._one(places)
            holder[key] = copy.deepcopy(other[at])
        else:
            holder[key] = copy.deepcopy(self._one(_JUNK))
        return document

    def _maybe(self, likely: float) -> bool:
        return self._source.random() < likely

    def _one(self, choices: Any) -> Any:
        return choices[self._source.randrange(len(choices))]

    def _put(self, holder: dict[str, Any], key: str, likely: float, make: Callable[[], Any]) -> None:
        if self._maybe(likely):
            holder[key] = make()
