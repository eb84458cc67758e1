"""Services that policies call: guarded against policies that would reach where their authors may not, and traced."""
