"""The `pacsnode` command: one file per command. The only room with click and rich."""


def main() -> None:
    raise NotImplementedError
