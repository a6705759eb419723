"""What every command of one run of the program shares: the configuration, read when needed."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pacsnode.config.model import Configuration


class Run:
    """`named` is the file of `--config`."""

    def __init__(self, named: Path | None) -> None:
        self._named = named

    @cached_property
    def path(self) -> Path | None:
        """The configuration file in use; None where there is none."""
        from pacsnode.config.load import find_file

        return find_file(self._named)

    @cached_property
    def configuration(self) -> "Configuration":
        """Raises ConfigurationError."""
        from pacsnode import log
        from pacsnode.config.load import load

        configuration = load(self.path)
        # A command's own output says what it does; the log adds what goes wrong beneath.
        level = "DEBUG" if configuration.log.level == "DEBUG" else "WARNING"
        log.configure(level, configuration.log.format)
        return configuration

    def existing(self) -> "Configuration":
        """The configuration, for commands that must not make an archive where there is none.
        Raises ConfigurationError."""
        from pacsnode.errors import ConfigurationError

        folder = self.configuration.data_dir
        try:
            (folder / "instances").stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ConfigurationError(
                f"data_dir: {folder} holds no archive, for it has no folder instances/; "
                "`pacsnode serve` and `pacsnode import` make one"
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"data_dir: {folder}: {error.strerror}; allowed is a folder that this user may "
                "write to"
            ) from error
        return self.configuration
