# Three images from one file: `serve` (the default) has what serving needs and no more; `train` can also train, and
# `replica` has Litestream, which streams the store to a replica.
#   docker build -t twolayernet .                  docker build -t twolayernet-train --target train .
#                                                  docker build -t twolayernet-replica --target replica .

FROM python:3.13-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN python -m venv --without-pip /opt/venv

# What the code needs, from the lock: installed again only when the lock changes.
FROM base AS serve-packages
COPY requirements/serve.txt /build/
RUN pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --require-hashes -r /build/serve.txt

FROM base AS train-packages
COPY requirements/train.txt requirements/digits.txt /build/
RUN pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes \
    -r /build/train.txt -r /build/digits.txt

FROM base AS code
COPY pyproject.toml README.md LICENSE /build/
COPY model /build/model
COPY service /build/service
RUN pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps --target /opt/app /build

# Byte code of the modules that serving imports: a read-only container can't write it, and every start would compile them.
FROM serve-packages AS serve-compiled
COPY --from=code /opt/app /opt/app
RUN PYTHONPATH=/opt/app PYTHONDONTWRITEBYTECODE= /opt/venv/bin/python -c \
    "import service.app, service.cli, service.server.run, gunicorn.app.wsgiapp, gunicorn.arbiter, gunicorn.workers.gthread, sqlalchemy.dialects.sqlite, service.store.postgres, PIL.PngImagePlugin, PIL.JpegImagePlugin, PIL.WebPImagePlugin, PIL.AvifImagePlugin"

FROM base AS runtime
ENV PYTHONPATH=/opt/app \
    PATH=/opt/app/bin:/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    TWOLAYERNET_HOST=0.0.0.0 \
    TWOLAYERNET_WEIGHTS=/data/weights.npz \
    TWOLAYERNET_STORE=sqlite:////data/twolayernet.db
# Any user may write into a new volume, so that the image runs under any number.
RUN mkdir -m 1777 /data
WORKDIR /data
VOLUME /data
USER 10001:10001
ENTRYPOINT ["twolayernet"]

FROM runtime AS train
LABEL org.opencontainers.image.title="twolayernet-train" \
      org.opencontainers.image.description="Trains the two-layer network that TwoLayerNet Service serves" \
      org.opencontainers.image.licenses="MIT"
ENV MPLCONFIGDIR=/tmp XDG_CACHE_HOME=/data/cache
COPY --from=train-packages /opt/venv /opt/venv
COPY --from=code /opt/app /opt/app
CMD ["train", "--out", "/data/weights.npz"]

FROM runtime AS served
COPY --from=serve-compiled /opt/venv /opt/venv
COPY --from=serve-compiled /opt/app /opt/app

FROM base AS litestream
COPY requirements/replica.txt /build/
RUN pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --require-hashes -r /build/replica.txt

FROM served AS replica
LABEL org.opencontainers.image.title="twolayernet-replica" \
      org.opencontainers.image.description="Streams the store of TwoLayerNet Service to a replica, restores and verifies it" \
      org.opencontainers.image.licenses="MIT"
COPY --from=litestream /opt/venv/bin/litestream /usr/local/bin/
USER root
RUN mkdir -m 1777 /replica
USER 10001:10001
ENTRYPOINT ["litestream"]
CMD ["replicate"]

FROM served AS serve
LABEL org.opencontainers.image.title="twolayernet" \
      org.opencontainers.image.description="A neural network that keeps learning while it is served" \
      org.opencontainers.image.licenses="MIT"
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "service.server.healthcheck"]
CMD ["serve"]
