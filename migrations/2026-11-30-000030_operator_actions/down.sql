DROP TABLE generative_ai.operator_actions;
