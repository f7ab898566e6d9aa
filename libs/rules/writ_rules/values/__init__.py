"""The values that parameters and conditions accept, and values to try: patterns, domains, samples and instants."""
