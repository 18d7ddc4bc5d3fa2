"""What each part of a DeepLabCut 3 model is here, and what its weights are called: one file per kind of part."""
