"""What the ConfigMap of the installation and the flags say, for those who act on it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry import trace

from kymograph.clients.kubernetes import informer
from kymograph.controllers import policies as stored
from kymograph.controllers.admission import webhooknames, webhooks
from kymograph.controllers.cleanup import ttl
from kymograph.controllers.configuration import reading
from kymograph.controllers.configuration import store as stores
from kymograph.controllers.events import notes, recorder, telling
from kymograph.runtime.settings import Settings
from kymograph.telemetry import work


class Configured:
    """Follows the ConfigMap.

    Args:
        settings: What the operator is started with.
        namespace: The operator's own namespace.
        client: Lists and watches the ConfigMap.
        events: Writes Events; which ones is the ConfigMap's to say, too.
        told: Works out Events.
        policies: Told what holds for all of them.
        tells: Whether this replica tells people what is wrong with it, so that not all do.
        worked: Is told of each change that was taken in.
        tracer: For a root span of each.

    Attributes:
        store: What it says at this moment.
    """

    def __init__(
        self,
        settings: Settings,
        namespace: str,
        client: informer.Source,
        events: recorder.Recorder,
        told: telling.Telling,
        policies: stored.PolicyStore,
        tells: Callable[[], bool],
        worked: work.Reconciled,
        tracer: trace.Tracer,
    ) -> None:
        self._settings = settings
        self._events = events
        self._told = told
        self._policies = policies
        self._tells = tells
        elsewhere, _, name = settings.config_map.rpartition("/")
        self.store = stores.ConfigurationStore(client, elsewhere or namespace, name, self._report, worked, tracer)
        self.store.listen(self._choose_events)
        self.store.listen(self._tell_policies)

    def current(self) -> reading.Configuration:
        """What the ConfigMap says at this moment."""
        return self.store.current

    @property
    def names(self) -> webhooknames.Names:
        """What webhook configurations are called."""
        return webhooknames.BY_WORD[self._settings.webhook_names]

    def wishes(self) -> webhooks.Wishes:
        """What is wanted of webhook configurations at this moment."""
        current = self.store.current
        return webhooks.Wishes(
            names=self.names,
            namespace_selector=current.namespace_selector,
            object_selector=current.object_selector,
            match_conditions=current.match_conditions,
            annotations=current.webhook_annotations,
            labels=current.webhook_labels,
            spares_bootstrap=self._settings.exclude_bootstrap_resources,
            timeout=self._settings.webhook_timeout,
            ttl_label=ttl.LABEL if "cleanup" in self._settings.controllers else "",
        )

    def _choose_events(self) -> None:
        current, omitted = self.store.current, self._settings.omit_events
        if current.success_events is not None:
            applied = frozenset({notes.Reason.POLICY_APPLIED.value})
            omitted = omitted - applied if current.success_events else omitted | applied
        self._events.choose(omitted, current.success_actions)
        self._told.look_again()

    def _tell_policies(self) -> None:
        current = self.store.current
        self._policies.installation, self._policies.filters = current.installation, current.filters

    def _report(self, document: Mapping[str, Any], problems: Iterable[reading.Problem]) -> None:
        if not self._tells():
            return
        metadata = document["metadata"]
        about = notes.Reference("v1", "ConfigMap", metadata["namespace"], metadata["name"], metadata.get("uid") or "")
        for problem in problems:
            self._events.add(
                notes.Note(
                    about,
                    None,
                    notes.Reason.CONFIGURATION_INVALID,
                    notes.Action.NONE,
                    notes.Source.ADMISSION,
                    f"This entry does not count: {problem}",
                )
            )
