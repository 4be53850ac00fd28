"""A person's own words for messages: Jinja2 templates, sandboxed and bounded, proven before they are used."""
