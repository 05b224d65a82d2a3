"""Accuracies on the 2,000 validation images that others published, to stand beside ours."""

ARTICLE, BOOK = "article", "book"

# The article in the README, section 5, and *Deep Learning with PyTorch*, sections 7.2 and 8.4; one seed each.
PUBLISHED: dict[str, dict[str, float]] = {
    "narrow": {ARTICLE: 0.8225, BOOK: 0.8210},
    "wide": {ARTICLE: 0.8125, BOOK: 0.8010},
    "convolution": {BOOK: 0.89},
}


def describe_published(preset: str) -> str:
    """Returns the published accuracies of a preset in words, empty where there is none."""
    return ", ".join(f"{accuracy:.4f} {source}" for source, accuracy in PUBLISHED.get(preset, {}).items())
