"""Control operations, which an executor carries out itself: cancels, stops, policy versions, archives."""
