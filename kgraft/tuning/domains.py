"""What a parameter of a search may be: one of some values, or a number in a range."""

import dataclasses
import math

from kgraft.errors import KgraftError

Value = str | int | float | bool
# Any setting is below.
_LARGEST = 1e12
# Steps are listed one by one.
_MOST_VALUES = 100_000


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values.

    Attributes:
        values: all of one type.
    """

    values: tuple[Value, ...]

    def listed(self) -> tuple[Value, ...] | None:
        """Returns every value."""
        return self.values

    def ends(self) -> tuple[Value, ...]:
        """Returns the values that have to be valid for all to be."""
        return self.values


@dataclasses.dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included.

    Attributes:
        low, high: the ends.
        step: distance of the values, counted from `low`; None for any number between.
        log: whether every order of magnitude is as likely as another.
        whole: whether it is a whole number.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    def listed(self) -> tuple[Value, ...] | None:
        """Returns every value; None where there is no end of them."""
        if self.step is None:
            return None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(
            self.low + i * self.step if self.whole else round(self.low + i * self.step, 10)
            for i in range(count)
        )

    def ends(self) -> tuple[Value, ...]:
        """Returns the values that have to be valid for all to be."""
        return (self.low, self.high)


Domain = Choice | Range


def choice(*values: Value | tuple[str, ...]) -> Choice:
    """One of some values.

    Args:
        *values: texts, numbers or switches; cuts may be tuples of names.
    """
    plain: list[Value] = ["+".join(v) if isinstance(v, tuple) else v for v in values]
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in plain)
    if numbers and any(isinstance(v, float) for v in plain):
        plain = [float(v) for v in plain]
    elif len({type(v) for v in plain}) > 1:
        plain = [str(v) for v in plain]
    return Choice(tuple(plain))


def real(low: float, high: float, *, step: float | None = None, log: bool = False) -> Range:
    """A number.

    Args:
        low: the least, included.
        high: the most, included.
        step: distance of the values; with steps, trials meet the same blocks again, which are
            then trained once. None for any number between.
        log: whether every order of magnitude is as likely as another.
    """
    # What is no number is for `check_domain` to refuse.
    low, high = (float(end) if isinstance(end, int) else end for end in (low, high))
    return Range(low, high, step, log)


def whole(low: int, high: int, *, step: int = 1) -> Range:
    """A whole number.

    Args:
        low: the least, included.
        high: the most, included.
        step: distance of the values.
    """
    return Range(low, high, step, whole=True)


def check_domain(name: str, domain: object) -> None:
    """Checks that a domain has values, and that they are in order.

    Args:
        name: the parameter, for the message.
        domain: what the space says of it.

    Raises:
        KgraftError: it is no domain, or is empty, or its steps cannot be taken.
    """
    if not isinstance(domain, (Choice, Range)):
        raise KgraftError(
            f"--space: {name} must be choice(...), real(low, high) or whole(low, high); got "
            f"{domain!r}"
        )
    if isinstance(domain, Choice):
        for value in domain.values:
            if not isinstance(value, (str, int, float)) or value in (math.inf, -math.inf):
                raise KgraftError(
                    f"--space: {name} must be a choice of texts, numbers or switches; got {value!r}"
                )
        if not domain.values or len(set(domain.values)) < len(domain.values):
            raise KgraftError(
                f"--space: {name} needs values to choose from, each once; got "
                f"{', '.join(map(str, domain.values)) or 'none'}"
            )
        return
    kinds = (int,) if domain.whole else (int, float)
    for number in (domain.low, domain.high, *([] if domain.step is None else [domain.step])):
        if not isinstance(number, kinds) or not abs(number) < _LARGEST:
            raise KgraftError(
                f"--space: {name} must be a range of {'whole ' if domain.whole else ''}numbers "
                f"below {_LARGEST:g}; got {number!r}"
            )
    if not domain.low < domain.high:
        raise KgraftError(
            f"--space: {name} is an empty range: expected a low end below the high one; got "
            f"{domain.low:g}..{domain.high:g}"
        )
    if domain.step is not None and not 0 < domain.step <= domain.high - domain.low:
        raise KgraftError(
            f"--space: {name}: the step must be above 0 and fit into {domain.low:g}.."
            f"{domain.high:g}; got {domain.step:g}"
        )
    if domain.step is not None and (domain.high - domain.low) / domain.step >= _MOST_VALUES:
        raise KgraftError(
            f"--space: {name} has more than {_MOST_VALUES} values: give a larger step"
            + ("" if domain.whole else ", or none for any number between")
        )
    if domain.log and (domain.step is not None or domain.low <= 0):
        raise KgraftError(f"--space: {name}: a log range begins above 0 and has no step")


def parse_domain(name: str, text: str) -> Domain:
    """Reads `a|b|c`, `0.3..0.9:0.05`, `50..200:50` or `1e-4..1e-2:log`.

    Args:
        name: the parameter, for the message.
        text: what follows its name.

    Raises:
        KgraftError: the text is none of these.
    """
    low, dots, rest = text.partition("..")
    high, _, how = rest.partition(":")
    try:
        if dots:
            return _range(low.strip(), high.strip(), how.strip())
        return choice(*(_value(part) for part in text.split("|")))
    except ValueError:
        raise KgraftError(
            f"--vary: {name} must be values such as a|b|c, or a range such as 0.3..0.9:0.05, "
            f"50..200:50 or 1e-4..1e-2:log; got {text!r}"
        ) from None


def _range(low: str, high: str, how: str) -> Range:
    if low.isdecimal() and high.isdecimal() and how != "log":
        return whole(int(low), int(high), step=int(how) if how else 1)
    step = float(how) if how and how != "log" else None
    return real(float(low), float(high), step=step, log=how == "log")


def _value(text: str) -> Value:
    text = text.strip()
    if not text:
        raise ValueError
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
