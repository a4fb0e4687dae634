"""The one exception a user of kgraft is meant to see, and what others' errors say."""

# Keras puts the error of a layer behind this, after the settings of all that holds the layer.
_INNER = "Exception encountered:"
# And behind this the settings of what it looked for, which are those of a whole model at worst.
_SETTINGS = "Full object config"
_LONGEST = 300


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


def keras_reason(error: Exception) -> str:
    """Returns why Keras could not load a model or make a layer again, in one short line.

    Args:
        error: what it raised: of many lines, the reason at the end of them.

    Returns:
        What the innermost error says, without the settings that Keras quotes.
    """
    inner = str(error).rpartition(_INNER)[2].partition(_SETTINGS)[0]
    text = one_line(inner) or type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
