-- The Brier score of observations that somebody else measured.

ALTER TABLE imported_observations ADD COLUMN brier DOUBLE;
ALTER TABLE imported_observations ADD COLUMN brier_sem DOUBLE;
