"""A scan's findings as one HTML page that loads nothing and runs nothing.

model        what it tells: findings by event, sessions, principals
follow_ups   what issued sessions did, found in the same files
timeline     where everything stands in the drawing
page         the page, by page.html and page.css
"""
