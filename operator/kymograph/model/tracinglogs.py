"""The part `logs` of a TracingConfiguration: what the operator logs, and what telemetry never tells."""

from kymograph.model import crd, otlpexporter

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json", "ecs")
ROOT_NAMES = ("root", "")
"""What Python calls the root logger."""

MOST_PATHS = 32
"""Paths that a list of them may have: each is looked for in every request that a policy says something about."""

MOST_LENGTH = 256
"""Characters of one path."""

_PATH = r"^[\w-]+(\.[\w-]+|\[(\*|[0-9]+|'[^']+')\])*$"
_LEVEL: crd.Schema = {"type": "string", "enum": list(LEVELS)}


def _paths(description: str, example: str) -> crd.Schema:
    return crd.listing(
        description,
        crd.text(
            f"A path such as {example}.",
            minLength=1,
            max_length=MOST_LENGTH,
            **{
                "x-kubernetes-validations": [
                    crd.rule(f'self.matches(r"{_PATH}")', f"must be a path of names, [*], [0] and ['key']: {example}")
                ]
            },
        ),
        max_items=MOST_PATHS,
        **{"x-kubernetes-list-type": "set"},
    )


LOGS = crd.record(
    "What the operator logs, on standard error. What is not said here is as its flags say.",
    {
        "level": {**_LEVEL, "description": "The least that is logged."},
        "format": {
            "type": "string",
            "enum": list(FORMATS),
            "description": "Text for people; json, one object a line; or ecs, the same by Elastic's names.",
        },
        "loggers": {
            "type": "object",
            "description": "Levels of single loggers (kymograph.controllers.admission) and of those below them.",
            "maxProperties": 64,
            "additionalProperties": {**_LEVEL, "description": "The least that this logger logs."},
            "x-kubernetes-validations": [
                crd.rule(
                    f"!({list(ROOT_NAMES)}.exists(name, name in self))",
                    "must not name the root logger (root, or an empty name): its level is logs.level",
                )
            ],
        },
        "redact": crd.record(
            "What is taken out of records, spans, Events and reports, beside what is in Secrets and tokens.",
            {
                "paths": _paths(
                    "Fields of objects whose values are told to nobody but the author of the request.",
                    "spec.containers[*].env[*].value",
                ),
                "fields": _paths("Fields of log records whose values are not logged.", "decision.message"),
            },
        ),
        "otlp": crd.record(
            "Records sent over OTLP, beside being written. Absent: not sent. Empty: to localhost in plaintext.",
            {
                **otlpexporter.fields(
                    "The receiver as host:port. Default: localhost:4317, or 4318 with http/protobuf."
                ),
                "level": {**_LEVEL, "description": "The least that is sent of what is logged. Default: all of it."},
            },
            **{"x-kubernetes-validations": list(otlpexporter.RULES)},
        ),
    },
)
