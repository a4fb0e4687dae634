"""A search space told to Keras Tuner."""

import contextlib
from typing import Any

import keras_tuner

from kgraft.tuning.domains import Choice, Domain
from kgraft.tuning.space import Space


def declare(space: Space, hp: keras_tuner.HyperParameters) -> None:
    """Registers every parameter, each within the conditions for which it exists.

    Args:
        space: the search space.
        hp: Keras Tuner's, changed in place.
    """
    for name in space.ordered():
        with contextlib.ExitStack() as stack:
            for parent, values in space.conditions(name):
                stack.enter_context(hp.conditional_scope(parent, list(values)))
            _register(name, space.parameters[name], hp)


def active_values(space: Space, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
    """Returns the values of a trial, without those that do not exist in it.

    Args:
        space: the search space.
        hp: the trial's.
    """
    return {
        name: hp.values[name]
        for name in space.ordered()
        if name in hp.values and hp.is_active(name)
    }


def _register(name: str, domain: Domain, hp: keras_tuner.HyperParameters) -> None:
    values = domain.listed()
    if values is not None:
        # A range with steps as well: its values are then exact, and trials that share them share
        # blocks.
        numbers = not isinstance(values[0], (str, bool))
        hp.Choice(name, list(values), ordered=numbers)
    elif not isinstance(domain, Choice):
        hp.Float(name, domain.low, domain.high, sampling="log" if domain.log else "linear")
