"""A store in an S3 bucket (docs/s3.md)."""
