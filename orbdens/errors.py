"""The one exception a user is meant to see."""


class UserError(Exception):
    """A mistake in the input, told in one sentence: what was expected, what came, where.

    The command line prints it on stderr and exits with status 2; a traceback needs ``--debug``.
    """
