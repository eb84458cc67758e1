"""Where object traces get their facts from: audit events, Events, object changes, spans of other components."""
