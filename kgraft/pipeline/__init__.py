"""The parts of a run that tie the stages to each other; `kgraft.api` puts them in order."""
