"""What a pretraining would take of a machine, by strategy and number of nodes."""
