# Jobs on CPUs, or on GPUs:
#
#     docker build --build-arg COMMIT=$(git describe --always --dirty --abbrev=40 --exclude '*') --tag IMAGE .
#     docker build --build-arg COMMIT=$(git describe --always --dirty --abbrev=40 --exclude '*') --build-arg LOCK=requirements-gpu.lock --tag IMAGE .
#
# Gin files and modules of one's own need not be in it: a launch sends them along.
FROM python:3.11-slim-bookworm

ARG LOCK=requirements.lock
ARG COMMIT=

# Where GKE and Vertex AI put the driver; CUDA itself is in the lock.
ENV PATH=/usr/local/nvidia/bin:$PATH \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    PYTHONUNBUFFERED=1

WORKDIR /ablate
RUN pip install --no-cache-dir "uv>=0.8"
# First what changes seldom.
COPY $LOCK ./
RUN uv pip install --system --no-cache --compile-bytecode --no-deps --requirements $LOCK
COPY setup.cfg setup.py pyproject.toml README.md LICENSE ./
COPY gin gin
COPY deepmac_ablate deepmac_ablate
RUN uv pip install --system --no-cache --compile-bytecode --no-deps .

# Everything that trials need, up to a training step.
RUN deepmac-ablate doctor

# What the checkout would say of itself.
ENV DEEPMAC_ABLATE_COMMIT=$COMMIT
ENTRYPOINT ["deepmac-ablate"]
