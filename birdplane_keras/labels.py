"""The two classes of CIFAR-10 that fly."""

CLASS_NAMES = ("airplane", "bird")
LABEL_MAP = {0: 0, 2: 1}  # CIFAR-10's number of the class -> ours, the index in CLASS_NAMES
SPLIT_SIZES = {"train": 10_000, "validation": 2_000}  # images of the two classes
