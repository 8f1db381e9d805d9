"""AWS: metrics and logs to CloudWatch, segments to X-Ray, through boto3 (the extra `aws`).

Blocking clients for threads; credentials come the way boto3 finds them, never from a factory file.
"""
