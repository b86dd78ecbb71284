# The service as an image: `make image`. With --build-arg REQUIREMENTS=msk-iam it can log in to Amazon MSK by IAM.
ARG BASE=python:3.11.16-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# pip and the build backend stay in this stage, beside the virtual environment that goes into the image.
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/tokentrail
COPY requirements/build.txt requirements/
RUN /tools/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt
ARG REQUIREMENTS=run
COPY requirements/${REQUIREMENTS}.txt requirements/
RUN /tools/bin/pip --python /opt/tokentrail/bin/python install --require-hashes --only-binary :all: \
    -r "requirements/${REQUIREMENTS}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY service service
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /tools/bin/pip --python /opt/tokentrail/bin/python install --no-deps --no-index dist/*.whl

FROM ${BASE}
COPY --from=build /opt/tokentrail /opt/tokentrail
ENV PATH="/opt/tokentrail/bin:${PATH}"
# Fails the build if the program cannot start, and leaves the bytecode of what it imports: official Python images
# come without that of the standard library, and a read-only file system would never gain it (0.4 s at each start).
RUN ["tokentrail", "run", "--help"]
ENV PYTHONDONTWRITEBYTECODE=1
# The program looks for config/tokentrail.toml in the folder it is started in.
WORKDIR /app
COPY config config
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tokentrail" \
      org.opencontainers.image.description="Streaming detector of sts:GetFederationToken abuse" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A number, since Kubernetes' runAsNonRoot cannot judge a name.
USER 65532:65532
EXPOSE 9464
# No HEALTHCHECK: Kubernetes ignores it, and it would suit one command only; deploy/compose/compose.yaml has one.
# No tini: `run`, `check` and `scan` handle SIGTERM as process 1 themselves, and leave no process behind.
ENTRYPOINT ["tokentrail"]
CMD ["run"]
