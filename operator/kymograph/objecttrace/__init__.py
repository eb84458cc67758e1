"""What happened to an object, as a trace: sources, assembly and rendering."""
