"""The tokens that every vocabulary begins with, whatever it was built on."""

PAD, UNKNOWN, MASK, START = range(4)  # ids: after a sentence's end; no token of the vocabulary's;
# in the place of one that is hidden; before a sentence's first, for what predicts that one, too
SPECIAL = ("[PAD]", "[UNK]", "[MASK]", "[START]")
