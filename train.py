"""Compose an experiment and train it: `python train.py model=resnet_50 dataset=deeplabcut dataset.root=...`."""

from dlcpose.cli.start import train

if __name__ == "__main__":
    train()
