"""The pictures: one module each, named as what it draws, with ``FIGURE``."""
