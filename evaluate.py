"""Evaluate a checkpoint: `python evaluate.py checkpoint=outputs/.../checkpoints/best.ckpt`."""

from dlcpose.cli.evaluate import main

if __name__ == "__main__":
    main()
