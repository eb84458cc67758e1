"""Traces and metrics of the process: live providers, the recorder of the hot path, metric cells."""
