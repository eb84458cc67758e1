"""The flags of `kymograph apply`: those of `kyverno apply` that users rely on, under the same names."""

import argparse
import re

_NANOSECONDS = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:h|m|s|ms|us|ns))+|0")


class Contradiction(Exception):
    """Flags that exclude each other, or lack each other."""


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "policies",
        nargs="*",
        metavar="POLICY",
        help="a file, folder or glob of policies, - for standard input, or the URL of a git repository",
    )
    _objects(parser.add_argument_group("objects"))
    _circumstances(parser.add_argument_group("circumstances"))
    _output(parser.add_argument_group("output and exit status"))


def check(options: argparse.Namespace) -> None:
    """Refuse what contradicts itself, in Kyverno's words.

    Raises:
        Contradiction: With the reason.
    """
    if options.values_file and options.set:
        raise Contradiction("pass the values either using set flag or values_file flag")
    if not options.policies:
        raise Contradiction("require policy")
    if "-" in options.policies and "-" in options.resource:
        raise Contradiction("a stdin pipe can be used for either policies or resources, not both")
    if not options.resource and not options.cluster:
        raise Contradiction("resource file(s) or cluster required")
    if any(path.strip() for path in options.crd_paths) and options.kubeconfig.strip():
        raise Contradiction("crd-paths and kubeconfig flags are mutually exclusive, please use only one of them")


def _objects(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-r",
        "--resource",
        "--resources",
        action="append",
        default=[],
        metavar="PATH",
        help="a file, folder or glob of objects, or - for standard input; repeatable",
    )
    group.add_argument(
        "--target-resource",
        "--target-resources",
        action="append",
        default=[],
        metavar="PATH",
        help="objects that rules for existing objects may change; repeatable",
    )
    group.add_argument("-c", "--cluster", action="store_true", help="apply to what is in the cluster")
    group.add_argument("--kubeconfig", default="", metavar="FILE", help="the kubeconfig that leads to the cluster")
    group.add_argument("--context", default="", help="the context of the kubeconfig")
    group.add_argument("-n", "--namespace", default="", help="with --cluster: objects of this namespace only")
    group.add_argument(
        "--cluster-wide-resources", action="store_true", help="with --cluster: objects without a namespace only"
    )
    group.add_argument(
        "--crd-paths",
        "--crd-path",
        action="append",
        default=[],
        metavar="PATH",
        help="CustomResourceDefinitions, which say what kinds have no namespace; repeatable",
    )
    group.add_argument("-b", "--git-branch", default="", help="the branch of repositories that hold policies")


def _circumstances(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-u", "--userinfo", default="", metavar="FILE", help="who asks: a file of kind UserInfo")
    group.add_argument(
        "-s", "--set", action="append", default=[], metavar="KEY=VALUE", help="a variable of policies; repeatable"
    )
    group.add_argument("-f", "--values-file", default="", metavar="FILE", help="variables: a file of kind Values")
    group.add_argument(
        "-e",
        "--exception",
        "--exceptions",
        action="append",
        default=[],
        metavar="PATH",
        help="a file, folder or glob of PolicyExceptions; repeatable",
    )
    group.add_argument(
        "--exceptions-with-resources",
        "--exceptions-within-resources",
        action="store_true",
        help="take PolicyExceptions from among the objects",
    )
    group.add_argument(
        "--exceptions-within-policies", action="store_true", help="take PolicyExceptions from among the policies"
    )
    group.add_argument("--registry", action="store_true", help="allow image registries to be asked")
    group.add_argument(
        "--continue-on-fail", action="store_true", help="go on with the next object where one cannot be evaluated"
    )


def _output(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o", "--output", default="", metavar="PATH", help="write changed and generated objects to a file or folder"
    )
    group.add_argument("-i", "--stdin", action="store_true", help="print changed objects alone, for another command")
    group.add_argument("-p", "--policy-report", action="store_true", help="print a report")
    group.add_argument(
        "--output-format", choices=("yaml", "json"), default="yaml", help="how reports are printed (default: yaml)"
    )
    group.add_argument("-t", "--table", action="store_true", help="print results as a table")
    group.add_argument("--detailed-results", action="store_true", help="with --table: what the rules said")
    group.add_argument("--remove-color", action="store_true", help="write no colours, on a terminal too")
    group.add_argument(
        "--generate-exceptions", action="store_true", help="print PolicyExceptions for everything that failed"
    )
    group.add_argument(
        "--generated-exception-ttl",
        type=_lifetime,
        default="720h0m0s",
        metavar="DURATION",
        help="how long these live; 0 for ever (default: %(default)s)",
    )
    group.add_argument(
        "--warnings-as-errors", action="store_true", help="refuse policies that are written in a deprecated way"
    )
    group.add_argument("--audit-warn", action="store_true", help="failures of Audit policies are warnings")
    group.add_argument(
        "--warn-exit-code", type=_status, default=0, metavar="N", help="exit status if there are only warnings"
    )
    group.add_argument("--warn-no-pass", action="store_true", help="that exit status too if nothing passed")
    group.add_argument(
        "--jobs", type=_jobs, default=0, metavar="N", help="how many processes to use (default: one for each CPU)"
    )


def _lifetime(text: str) -> str:
    if _NANOSECONDS.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text}: must be a duration, such as 720h or 90m")
    return "" if text == "0" else text


def _status(text: str) -> int:
    if not text.isdecimal() or int(text) > 255:
        raise argparse.ArgumentTypeError(f"{text}: must be a number from 0 to 255")
    return int(text)


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: must be a number from 1")
    return int(text)
