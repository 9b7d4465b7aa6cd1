"""The one exception whose text is meant for the user."""


class UserError(Exception):
    """Bad input or configuration: the message names what was seen, what was expected, what to do.

    Stage programs print it without a traceback and exit with 1.
    """
