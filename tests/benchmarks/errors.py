"""What ends one trial, not the benchmark."""


class Fault(Exception):
    """A peer or a client failed, or an instance was lost: the trial has no figure."""


class Loss(Fault):
    """Instances that were acknowledged are not found."""
