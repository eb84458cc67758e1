"""JSON values as the YAML that `kubectl` and Kyverno print: keys sorted, lists not indented, long lines folded.

What is written reads back as the same value: text that Kubernetes would take for something else is quoted.
"""

from typing import Any

import yaml

from kymograph.apimachinery import yamlscalar

Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Writer(Dumper):  # type: ignore[misc]  # libyaml's or PyYAML's dumper, which have no common typed base
    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _represent_text(writer: Any, text: str) -> Any:
    style = None
    if "\n" in text:
        style = "|"
    elif yamlscalar.resolve(text) is not text or text == "<<":
        style = '"'
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Writer.add_representer(str, _represent_text)


def dump(value: Any) -> str:
    """Write a JSON value as one YAML document; ends with a line break.

    Args:
        value: Maps with text keys, lists, text, numbers, booleans and None.
    """
    text: str = yaml.dump(value, Dumper=_Writer, sort_keys=True, allow_unicode=True)
    return text
