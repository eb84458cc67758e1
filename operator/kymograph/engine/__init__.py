"""The pure policy engine: (compiled policies, request, facts) to verdicts. No I/O, no clock, no globals."""
