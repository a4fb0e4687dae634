"""The one exception a user of kgraft is meant to see."""


class KgraftError(ValueError):
    """Input that kgraft cannot work with.

    The message is one line that says what was expected, what came and what would be right. The
    command line prints it and exits with a code other than 0; no traceback is shown.
    """


def one_line(error: object) -> str:
    """Puts what an error, often somebody else's of many lines, says into one."""
    return " ".join(str(error).split())


def reason_of(error: Exception) -> str:
    """Returns the same, and what kind of error it is where it is none of ours."""
    text = one_line(error)
    return text if isinstance(error, KgraftError) else f"{type(error).__name__}: {text}"
