"""How much power an IAM policy document asks for, read as AWS reads it. Pure.

grading     the grade, and why
document    text -> statements
witnesses   sample actions and ARNs, by which a pattern is judged
wildcards   `*` and `?`
"""

from service.policy.document import MAX_POLICY_CHARACTERS
from service.policy.grading import IAM_ADMIN_ACTIONS, Assessment, Grade, assess

__all__ = ["IAM_ADMIN_ACTIONS", "MAX_POLICY_CHARACTERS", "Assessment", "Grade", "assess"]
