# syntax=docker/dockerfile:1
# vid4d on an NVIDIA GPU (docs/docker.md). In the checkout:
#   docker build --file docker/cuda.Dockerfile --tag vid4d:cuda .
# PyTorch's wheels bring CUDA's libraries along, and NVIDIA's container toolkit the driver: no image of NVIDIA's is
# needed.
FROM python:3.11-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# A compiler: for the rasteriser on the CPU, and for Triton, which builds what starts its kernels at their first use.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && python -m venv /opt/vid4d \
    && useradd --uid 1000 --no-create-home vid4d \
    && install --directory --owner vid4d --group vid4d --mode 1777 /data /cache
WORKDIR /src
COPY constraints.txt ./

# PyTorch first, for it is large and seldom changes. For another CUDA than that of its usual wheels, name the index
# that pytorch.org tells.
ARG TORCH_INDEX=""
RUN /opt/vid4d/bin/pip install --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch

ARG EXTRAS="export"
COPY pyproject.toml setup.py README.md LICENSE ./
COPY src ./src
RUN /opt/vid4d/bin/pip install --constraint constraints.txt ".[$EXTRAS]"

# Also for users that have no name here (docker run --user). Kernels that were built are kept in the cache.
ENV PATH="/opt/vid4d/bin:$PATH" HOME=/cache USER=vid4d XDG_CACHE_HOME=/cache PYTHONUNBUFFERED=1 \
    TRITON_CACHE_DIR=/cache/triton NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER vid4d
WORKDIR /data
VOLUME ["/data", "/cache"]
EXPOSE 7860 8080
ENTRYPOINT ["vid4d"]
CMD ["--help"]
