"""Evaluate a checkpoint: `python evaluate.py checkpoint=outputs/.../checkpoints/best.ckpt`."""

from dlcpose.cli.start import evaluate

if __name__ == "__main__":
    evaluate()
