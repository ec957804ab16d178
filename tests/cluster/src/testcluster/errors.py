"""What goes wrong with a test cluster."""


class ClusterError(Exception):
    """Something that was asked of the cluster failed. The message says what, where, what to do."""


class CannotRunError(ClusterError):
    """This machine lacks something that is needed. The message is one line naming it."""
