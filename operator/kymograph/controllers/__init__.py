"""The four controllers: Kopf handlers that parse, ask the engine and answer."""
