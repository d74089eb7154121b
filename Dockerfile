# The page of Clearpane: docker build --tag clearpane . ; docker run --publish 127.0.0.1:7860:7860 clearpane
FROM python:3.12-slim-bookworm

WORKDIR /opt/clearpane
COPY pyproject.toml README.md LICENSE ./
COPY requirements requirements
COPY src src
# Without PyTorch: photographs, batches and comparisons. --build-arg EXTRAS=web,photo,3d adds HEIC, RAW and objects.
ARG EXTRAS=web
RUN pip install --no-cache-dir --constraint requirements/base.txt ".[$EXTRAS]" \
    && useradd --create-home --uid 1000 clearpane

USER clearpane
WORKDIR /home/clearpane
ENV PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
STOPSIGNAL SIGTERM
# Inside the container every address; who may reach it is said by --publish.
ENTRYPOINT ["clearpane", "serve", "--host", "0.0.0.0"]
