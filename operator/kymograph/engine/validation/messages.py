"""Words that several checks share."""

SET_BACKGROUND = "Set spec.background=false to disable background mode for this policy rule"
