"""python -m pacsnode."""

from pacsnode.cli import main

main()
