"""How models of DeepLabCut 3 are laid out: what each of their parts is here, and what its weights are called."""
