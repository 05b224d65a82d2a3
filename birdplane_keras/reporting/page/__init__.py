"""The report as one page of HTML that needs nothing beside it: `render_page`."""
