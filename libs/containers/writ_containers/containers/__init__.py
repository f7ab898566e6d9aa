"""Operations on one container and its image, judged by inspection after each change."""
