"""The documentation's settings: `sphinx-build -W docs build/docs` builds it, with warnings as errors."""

from importlib.metadata import version as version_of

project = "birdplane-keras"
author = "the birdplane-keras developers"
release = version_of("birdplane-keras")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
default_role = "code"  # docstrings write names between single backticks
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# What scikit-learn adds to every estimator, which its own documentation describes; and what a docstring lists already.
HIDDEN = "set_fit_request, set_partial_fit_request, set_predict_request, set_score_request, classes_"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures stay short; docstrings say what each argument is
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True, "exclude-members": HIDDEN}
napoleon_numpy_docstring = False
