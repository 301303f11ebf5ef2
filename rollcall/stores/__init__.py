"""Adapters to S3, DynamoDB, SQS and SNS, and in-memory implementations of the same Protocols."""
