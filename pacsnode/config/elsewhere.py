"""Values that the configuration file leaves to another place, so that it may be shown to anybody:
`!env NAME` is an environment variable, `!file PATH` the text of a file, less line ends after it.
"""

import os
from pathlib import Path

import yaml

from pacsnode.config.values import Unavailable


class Loader(yaml.SafeLoader):
    """`folder` is what relative paths start from. What cannot be had becomes an Unavailable, which
    no setting takes, so that it is told beside the other faults."""

    def __init__(self, folder: Path) -> None:
        super().__init__("")
        self.folder = folder

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        """As PyYAML's, which raises whatever comes up where a value does not fit its tag. The
        value is not quoted: it may be a secret."""
        try:
            return super().construct_object(node, deep=deep)
        except (AttributeError, IndexError, KeyError) as error:
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"a value that is no {kind}", node.start_mark
            ) from error

    def variable(self, node: yaml.Node) -> str | Unavailable:
        name = self._named(node)
        if isinstance(name, Unavailable):
            return name
        value = os.environ.get(name)
        return Unavailable(f"!env {name}: the variable is not set") if value is None else value

    def content(self, node: yaml.Node) -> str | Unavailable:
        name = self._named(node)
        if isinstance(name, Unavailable):
            return name
        try:
            return Path(self.folder, name).expanduser().read_text("utf-8").rstrip("\r\n")
        except OSError as error:
            return Unavailable(f"!file {name}: {error.strerror}")
        except (ValueError, RuntimeError) as error:  # not UTF-8, a NUL, a home that is nobody's
            return Unavailable(f"!file {name}: {error}")

    def _named(self, node: yaml.Node) -> str | Unavailable:
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
            return Unavailable(f"{node.tag} is to be followed by one name")
        return str(node.value).strip()


Loader.add_constructor("!env", Loader.variable)
Loader.add_constructor("!file", Loader.content)
