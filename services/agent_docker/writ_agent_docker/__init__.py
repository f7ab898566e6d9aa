"""The Docker agent: carries out operations on Docker engines, none without a verified grant."""
