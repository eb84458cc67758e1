"""What `kymograph cleanup` works with: looking for the objects that a cleanup policy would delete."""
