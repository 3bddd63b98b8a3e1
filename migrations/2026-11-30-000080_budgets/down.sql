DROP TRIGGER settle_charge ON generative_ai.provider_calls;
DROP FUNCTION generative_ai.settle_charge();
DROP FUNCTION generative_ai.reserve(jsonb, double precision);
ALTER TABLE generative_ai.provider_calls DROP COLUMN charged_usd, DROP COLUMN charged_to;
DROP TABLE generative_ai.budget_periods;
