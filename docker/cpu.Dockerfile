# syntax=docker/dockerfile:1
# vid4d on the CPU (docs/docker.md). In the checkout: docker build --file docker/cpu.Dockerfile --tag vid4d .
FROM python:3.11-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && python -m venv /opt/vid4d
WORKDIR /src
COPY constraints.txt ./

# PyTorch first, for it is large and seldom changes. Where pip would bring CUDA's libraries (Linux on x86-64), name
# the index that pytorch.org tells for its CPU build.
ARG TORCH_INDEX=""
RUN /opt/vid4d/bin/pip install --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch

ARG EXTRAS="export"
COPY pyproject.toml setup.py README.md LICENSE ./
COPY src ./src
RUN /opt/vid4d/bin/pip install --constraint constraints.txt ".[$EXTRAS]"

FROM python:3.11-slim-bookworm

# OpenMP, for the rasteriser that was built above.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --no-create-home vid4d \
    && install --directory --owner vid4d --group vid4d --mode 1777 /data /cache
COPY --from=build /opt/vid4d /opt/vid4d

# Also for users that have no name here (docker run --user).
ENV PATH="/opt/vid4d/bin:$PATH" HOME=/cache USER=vid4d XDG_CACHE_HOME=/cache PYTHONUNBUFFERED=1
USER vid4d
WORKDIR /data
VOLUME ["/data", "/cache"]
EXPOSE 7860 8080
ENTRYPOINT ["vid4d"]
CMD ["--help"]
