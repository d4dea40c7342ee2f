# The image of the worker: one program and the C library, no shell, nobody's root.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" \
#       --build-arg SOURCE="$(git remote get-url origin)" -t registry.example.com/ledgerline:0.1.0 .
#
# VERSION is required, and has to be the one in Cargo.toml. REVISION and SOURCE (the repository's address) become labels of the image.
#
# Checked by `make image-test` (scripts/image). Also builds where no registry is reached: every base can be replaced by
# --build-context, and so can the stage `program`, by a folder that holds a program which is built already.
#
# What must stay true: bases are named by digest; the runtime gets one file; the user is a number, which Kubernetes can check
# against runAsNonRoot; nothing here needs more than Buildah 1.28 understands (no here-documents, no COPY --link).

# Debian 13, as the runtime: a program never needs a newer C library than the one that it meets.
FROM docker.io/library/rust:1.95-trixie@sha256:f49565f188ee00bc2a18dd418183f2c5f23ef7d6e691890517ed341a598f67c3 AS chef
WORKDIR /src
RUN cargo install --locked cargo-chef@0.1.78 cargo-auditable@0.7.7

# The recipe changes with the manifests alone, so that a change of our code compiles our code alone.
FROM chef AS planner
COPY . .
RUN cargo chef prepare --recipe-path /recipe.json

FROM chef AS build
COPY --from=planner /recipe.json /recipe.json
RUN cargo chef cook --locked --release --package ledgerline-worker --bin ledgerline --recipe-path /recipe.json
COPY . .
ARG VERSION
# The list of crates lies in the program itself (cargo-auditable). The label that tells the version must not lie; and what a
# distroless image does not have must not be needed.
RUN cargo auditable build --locked --release --package ledgerline-worker --bin ledgerline \
    && test "$(target/release/ledgerline --version)" = "ledgerline ${VERSION:?--build-arg VERSION is the version in Cargo.toml}" \
    && readelf --dynamic target/release/ledgerline >/needed \
    && awk '/NEEDED/ { n++; if ($NF !~ /^\[(libc|libm|libgcc_s|ld-linux-.*)\.so\.[0-9]+\]$/) { print; bad = 1 } } END { exit bad || !n }' /needed \
    && install -D target/release/ledgerline /program/ledgerline

FROM scratch AS program
COPY --from=build /program/ledgerline /ledgerline

FROM gcr.io/distroless/cc-debian13:nonroot@sha256:54df941ed0d06a1bd95ef5e0ce391fd8d9f94b64782dc9a60062727849ee3f97
ARG VERSION
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="ledgerline" \
      org.opencontainers.image.description="Moves events from Kafka into PostgreSQL, each exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian13:nonroot"
COPY --from=program --chown=0:0 --chmod=0555 /ledgerline /usr/bin/ledgerline
USER 65532:65532
WORKDIR /
# HTTP: probes, metrics, status page, API.
EXPOSE 9090
ENTRYPOINT ["/usr/bin/ledgerline"]
