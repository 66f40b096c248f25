//! docker-compose.yml and .env.example say what the code reads, and nothing else.
