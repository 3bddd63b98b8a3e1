-- Deliberately nothing: the tables may be the application's, and they hold people's pictures.
SELECT 1;
