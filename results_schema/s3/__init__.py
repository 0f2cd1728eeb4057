"""A store in an S3 bucket: how its guarantees hold without renames (docs/s3.md).

Read `leases` first: numbered blocks that are never overwritten, and leases made of them.
"""
