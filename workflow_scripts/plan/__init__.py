"""Planning a run before it is started: what it needs of the machine, from first principles."""
