"""The rules that match a request, found without a try of each rule."""
