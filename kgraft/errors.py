"""The one exception a user of kgraft is meant to see."""


class KgraftError(ValueError):
    """Input that kgraft cannot work with.

    The message is one line that says what was expected, what came and what would be right. The
    command line prints it and exits with a code other than 0; no traceback is shown.
    """


def reason_of(error: Exception) -> str:
    """Puts an error into one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, KgraftError) else f"{type(error).__name__}: {text}"
