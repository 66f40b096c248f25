# One image per service: docker build --build-arg SERVICE=ingress . (or waiting-room, allocator, notifier, usher).
# Every image also holds `usher`, for its health check.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
ENV SQLX_OFFLINE=true
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin ingress --bin waiting-room --bin allocator --bin notifier --bin usher && \
    mkdir /programs && \
    cp target/release/ingress target/release/waiting-room target/release/allocator target/release/notifier target/release/usher /programs/

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin usher
ARG SERVICE=usher
COPY --from=build /programs/usher /programs/${SERVICE} /usr/local/bin/
USER 10001
ENV SERVICE=${SERVICE}
ENTRYPOINT ["/bin/sh", "-c", "exec \"$SERVICE\" \"$@\"", "--"]
