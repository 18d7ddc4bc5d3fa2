"""What each of our parts is in a DeepLabCut 3 config: one file per kind of part."""
