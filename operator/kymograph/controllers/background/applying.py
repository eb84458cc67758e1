"""Applies the rules of an UpdateRequest because of its trigger as it is, each in a span of its own, and tells of it."""

import asyncio
import functools
import hashlib
import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

from opentelemetry import trace

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.controllers import policies, redaction, updaterequests
from kymograph.controllers.background import effects, errors, generating, loops, metrics, mutating, telling, triggers
from kymograph.engine.policy import CompiledPolicy, CompiledRule
from kymograph.telemetry import rendering, roots, semconv, subject

logger = logging.getLogger(__name__)


class Task(NamedTuple):
    """One rule to be applied.

    Attributes:
        policy: Its policy.
        rule: The rule.
        part: What of the UpdateRequest is about it.
        trigger: The trigger as it is.
        reported: Takes what is set once a report says what became of it; see `telling.Reporting.applied`.
        remarks: Takes what is to be said of it although it succeeded.
    """

    policy: CompiledPolicy
    rule: CompiledRule
    part: updaterequests.Part
    trigger: triggers.Trigger
    reported: list[asyncio.Event]
    remarks: list[str]

    def is_reported(self, written: asyncio.Event | None) -> None:
        """Note what a report waits for."""
        if written is not None:
            self.reported.append(written)


class Applying:
    """Applies rules.

    Args:
        store: The policies.
        triggers: Reads triggers.
        generates: Applies generate rules.
        mutates: Applies mutate rules.
        chains: Knows what sets off what.
        told: Tells users what came of it.
        tracer: For spans of policies and rules.
        stopped: Is told the type of each request that was stopped because rules set each other off.
        metrics: Counts what rules come to.
        contested: Is told the number of objects written that another rule generates, too.
        hidden: Gives the fields of objects that nobody is told of.
    """

    def __init__(
        self,
        store: policies.PolicyStore,
        triggers: triggers.Triggers,
        generates: generating.Generating,
        mutates: mutating.Mutating,
        chains: loops.Chains,
        told: telling.Telling,
        tracer: trace.Tracer,
        stopped: Callable[[str], None],
        metrics: metrics.RuleMetrics,
        contested: Callable[[int], None],
        hidden: redaction.Hidden = tuple,
    ) -> None:
        self._store = store
        self._triggers = triggers
        self._generates = generates
        self._mutates = mutates
        self._chains = chains
        self._told = told
        self._tracer = tracer
        self._stopped = stopped
        self._metrics = metrics
        self._contested = contested
        self._hidden = hidden

    def about(self, asked: updaterequests.UpdateRequest, tasks: Iterable[Task]) -> subject.Subject:
        """What work on a request is about: spans, log records, Events and reports of it do not tell what is hidden."""
        requests = (task.trigger.request for task in tasks)
        found = [redaction.of(request, self._hidden()) for request in requests if request is not None]
        hidden = [each for each in found if each is not None]

        def hide(text: str) -> str:
            for each in hidden:
                text = each.text(text)
            return text

        uid = str((asked.request or {}).get("uid") or "")
        return subject.Subject(uid, hide if hidden else None)

    async def prepared(self, asked: updaterequests.UpdateRequest, part: updaterequests.Part) -> Task:
        """Everything that one rule is to be applied with.

        Raises:
            NotYet: There is no such rule, or the trigger does not show what the request claims.
            Needless: Nobody here works on requests of this type, or no policy is for the trigger.
            Failing: The trigger's kind is not served.
            KubernetesError: The trigger could not be read.
        """
        policy = next((each for each in self._store.policies.policies if each.key == asked.policy), None)
        if policy is None:
            raise errors.NotYet(f"there is no policy {asked.policy}, or it cannot be enforced")
        if asked.type not in (updaterequests.GENERATE, updaterequests.MUTATE):
            raise errors.Needless(f"requests of type {asked.type} are not for this operator")
        rule = next((each for each in policy.table(asked.type).every if each.name == part.rule), None)
        if rule is None or (asked.type == updaterequests.MUTATE and not rule.body.targets):
            raise errors.NotYet(f"policy {asked.policy} has no such rule {part.rule}")
        if triggers.is_filtered(self._store.filters, part.trigger):
            raise errors.Needless(f"no policy is for {part.trigger}: resourceFilters of the ConfigMap leave it out")
        return Task(policy, rule, part, await self._triggers.of(asked, part), [], [])

    async def apply(self, asked: updaterequests.UpdateRequest, tasks: list[Task]) -> list[updaterequests.Reference]:
        """Apply rules; returns the objects that they made, changed or deleted.

        Raises:
            Needless: None of them had anything to do, or a chain of rules was stopped.
            Failing: One could not be applied.
            KubernetesError: The API server did not do as asked.
        """
        chain = self._chains.length(asked)
        if chain > loops.MOST_LINKS:
            return await self._stop(asked, tasks, chain)
        done: list[updaterequests.Reference] = []
        needless: errors.Needless | None = None
        for task in tasks:
            try:
                done += await self._apply_rule(asked, task, chain)
            except errors.Needless as error:
                needless = error
        if needless is not None and not done:
            raise needless
        return done

    async def _stop(
        self, asked: updaterequests.UpdateRequest, tasks: list[Task], chain: int
    ) -> list[updaterequests.Reference]:
        """End a chain of rules that set each other off, and say so."""
        message = f"stopped: {chain} rules have set each other off, this one by the operator's own request"
        logger.warning("A rule of policy %s is %s", asked.policy, message)
        self._stopped(asked.type)
        for task in tasks:
            self._told.failed(task.policy, task.rule, task.part.trigger, message)
            rows = [telling.failure(task.rule, message)]
            task.is_reported(await self._told.report(task.policy, task.rule, task.trigger, rows))
        raise errors.Needless(message)

    async def _apply_rule(
        self, asked: updaterequests.UpdateRequest, task: Task, chain: int
    ) -> list[updaterequests.Reference]:
        policy, rule, part = task.policy, task.rule, task.part
        about = {
            semconv.POLICY_GROUP: policy.group,
            semconv.POLICY_VERSION: policy.version,
            semconv.POLICY_KIND: policy.kind,
            semconv.POLICY_NAME: policy.name,
            semconv.POLICY_NAMESPACE: policy.namespace,
        }
        done = effects.Effects(functools.partial(self._chains.writes, asked, chain))
        with (
            self._tracer.start_as_current_span(
                f"POLICY {policy.namespace}/{policy.name}",
                attributes=about,
                record_exception=False,
                set_status_on_exception=False,
            ) as around,
            self._tracer.start_as_current_span(
                f"RULE {rule.name}",
                attributes={semconv.RULE_NAME: rule.name, semconv.RULE_TYPE: rule.type},
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
        ):
            problem: errors.BackgroundError | kubernetes_errors.KubernetesError | None = None
            began = self._metrics.now()
            try:
                seed = _seed(asked, rule, part)
                if rule.type == updaterequests.GENERATE:
                    await self._generates.apply(policy, rule, part, task.trigger, seed, done)
                else:
                    await self._mutates.apply(policy, rule, task.trigger, seed, done)
            except errors.Needless as needless:
                problem = needless
            except (errors.Failing, kubernetes_errors.KubernetesError) as error:
                problem = error
                roots.fail(span, error)
            result = "pass" if problem is None else "skip" if isinstance(problem, errors.Needless) else "error"
            span.set_attribute(semconv.RULE_RESULT, result)
            around.set_attribute(semconv.POLICY_RESULT, result)
            if problem is not None:
                span.set_attribute(semconv.MESSAGE, rendering.bounded(str(problem)))
            self._metrics.applied(policy, rule, part.trigger, task.trigger, result, began)
            await self._tell(task, done, problem)
            if problem is not None:
                raise problem
        return done.objects

    async def _tell(
        self,
        task: Task,
        done: effects.Effects,
        problem: errors.BackgroundError | kubernetes_errors.KubernetesError | None,
    ) -> None:
        """Make known what a rule did, as far as it came."""
        policy, rule = task.policy, task.rule
        if isinstance(problem, errors.UNANSWERED):
            return
        if problem is not None and not isinstance(problem, errors.Needless):
            message = subject.current().told(str(problem))
            if not done.failures:
                self._told.failed(policy, rule, task.part.trigger, message)
            if rule.type == updaterequests.GENERATE or not done.results:
                done.results = [telling.failure(rule, message)]
        self._told.applied(policy, rule, self._still_contested(done))
        if done.contested:
            task.remarks.extend(telling.contest(*each) for each in done.contested)
            self._contested(len(done.contested))
        if done.results is not None:
            told = subject.current().told
            rows = [each._replace(message=told(each.message)) for each in done.results]
            task.is_reported(await self._told.report(policy, rule, task.trigger, rows))

    def _still_contested(self, done: effects.Effects) -> effects.Effects:
        """Without the quarrels with rules that are no more."""
        if done.contested:
            rules = {
                (policy.key, rule.name) for policy in self._store.policies.policies for rule in policy.generate.every
            }
            done.contested = [each for each in done.contested if each[1:] in rules]
        return done

    def check_orphans(self, asked: updaterequests.UpdateRequest) -> None:
        """See that rules are gone whose work is to be undone: we may hear of it a moment later than others.

        Raises:
            NotYet: One of them exists.
        """
        policy = next((each for each in self._store.policies.policies if each.key == asked.policy), None)
        existing = {each.name for each in policy.generate.every} if policy is not None else set()
        for part in asked.parts:
            if part.rule in existing:
                raise errors.NotYet(f"rule {part.rule} of policy {asked.policy} exists")

    async def delete_orphans(self, asked: updaterequests.UpdateRequest) -> list[updaterequests.Reference]:
        """Delete what rules generated that are gone; returns what was deleted.

        Raises:
            Failing: It may not be deleted, or its kind is not served.
            KubernetesError: The API server did not do as asked.
        """
        done = effects.Effects(functools.partial(self._chains.writes, asked, self._chains.length(asked)))
        for part in asked.parts:
            await self._generates.delete_all(asked.policy, part.rule, asked.kinds, done, marked=asked.marked)
        return done.objects


def _seed(asked: updaterequests.UpdateRequest, rule: CompiledRule, part: updaterequests.Part) -> bytes:
    """What stands for the work in all tries of it: the request, or the trigger where the rule keeps in step with it."""
    follows = rule.type == updaterequests.GENERATE and rule.body.synchronize
    about = part.trigger.uid if follows and part.trigger.uid else asked.uid
    return hashlib.sha256(f"{asked.policy}\0{rule.name}\0{about}".encode()).digest()
