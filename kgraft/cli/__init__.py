"""The commands: flags into a config, one call, and nothing else."""
