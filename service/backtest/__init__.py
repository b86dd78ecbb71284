"""The same events judged twice: what a change of tuning would do, and what the published rules would have found.

compare             one tuning beside another
published           the two published rules, as their authors' engines would evaluate them
compare_published   these beside ours, with the reason for each difference
"""
