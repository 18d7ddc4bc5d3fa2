"""`python -m dlcpose`: the program `dlcpose` where its folder is not on the path."""

from dlcpose.cli.start import dlcpose

if __name__ == "__main__":
    dlcpose()
