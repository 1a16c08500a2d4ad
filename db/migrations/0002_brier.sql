-- The Brier score of observations that somebody else measured.

ALTER TABLE imported_observations ADD COLUMN IF NOT EXISTS brier DOUBLE;
ALTER TABLE imported_observations ADD COLUMN IF NOT EXISTS brier_sem DOUBLE;
