# The worker as a small image. Build: docker build -t generative-ai-worker .
#
# Run:   docker run --env-file .env generative-ai-worker
# Other commands go after the name: docker run --env-file .env generative-ai-worker check-config

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /build

# Dependencies first, with an empty package in place of ours: this layer is built anew only when
# Cargo.toml or Cargo.lock changes, and it is where the minutes go.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked \
    && rm -r src

COPY . .
# Cargo compares times: the sources of the checkout can be older than the empty package above.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked


FROM docker.io/library/debian:bookworm-slim

LABEL org.opencontainers.image.title="generative-ai-worker" \
      org.opencontainers.image.description="Takes image work packages from a Redis list, has them drawn, stores the pictures and records the result in Postgres" \
      org.opencontainers.image.licenses="MIT"

# The certificates are for the image services, databases and stores that are reached by TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /var/lib/generative-ai-worker --shell /usr/sbin/nologin worker \
    && install --directory --owner=worker --group=worker /var/lib/generative-ai-worker

COPY --from=build /build/target/release/generative-ai-worker /usr/local/bin/

# By number, so that Kubernetes can tell that it is not root. Pictures kept on disk (STORAGE_URL's
# default) land in the working directory.
USER 10001
WORKDIR /var/lib/generative-ai-worker

# Probes and metrics, for the network that the container is in.
ENV HTTP_ADDR=0.0.0.0:9464
EXPOSE 9464

# The worker is process 1, handles SIGTERM itself (it drains, then gives back what is unfinished) and
# starts no children: no init is needed. Whoever stops it has to wait longer than SHUTDOWN_TIMEOUT
# (5m unless set; `docker stop` by itself waits 10 s: use `--time 330`).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["generative-ai-worker", "healthcheck", "--self"]
ENTRYPOINT ["generative-ai-worker"]
CMD ["run"]
