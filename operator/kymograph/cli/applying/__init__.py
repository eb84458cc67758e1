"""`kymograph apply`: reading objects as a stream, judging them in several processes, and writing what came of it."""
