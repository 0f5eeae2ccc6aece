"""What examples are made of: one file a kind of data.

A modality says how stored examples become what encoders see, which other ones could stand in
their place, when two look alike, and how they are shown. Every data source names its own.
"""
