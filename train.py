"""Compose an experiment and train it: `python train.py model=resnet_50 dataset=deeplabcut dataset.root=...`."""

from dlcpose.cli.train import main

if __name__ == "__main__":
    main()
