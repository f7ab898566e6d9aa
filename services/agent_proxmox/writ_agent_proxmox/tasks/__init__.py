"""Tasks on a cluster: the guests that they concern, their ids, their ends, and notes for a successor."""
