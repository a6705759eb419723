"""python -m pacsnode."""

from pacsnode.cli import main

if __name__ == "__main__":
    main()
