# Interlock's image. Plain instructions only, so that every builder takes it.
#
# It runs as the user `node`, needs to write only /config and /data (and /tmp), and serves on 8080 (8112: the red button). Without
# DATABASE_URL it runs its own PostgreSQL under /data, as everywhere: the binaries come with the production
# dependencies (60 MB of the image), work unpacked as npm leaves them and run as this user.
# /app/sbom.cdx.json is its bill of materials (CycloneDX).
# On a first start without /config/interlock.yaml, scripts/container-entrypoint.mjs writes one.

FROM node:20-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN npm run build && npm run --silent sbom > sbom.cdx.json
# What the service runs with, without the tools that built it.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && npm cache clean --force

FROM node:20-bookworm-slim
ENV NODE_ENV=production INTERLOCK_CONFIG=/config/interlock.yaml
WORKDIR /app
COPY --from=build /app/package.json /app/LICENSE /app/sbom.cdx.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/bin bin
COPY --from=build /app/config config
COPY --from=build /app/scripts scripts
COPY --from=build /app/dist dist
RUN ln -s /app/bin/interlock.mjs /usr/local/bin/interlock \
 && mkdir /config /data && chown node:node /config /data && chmod 700 /config /data
USER node
VOLUME ["/config", "/data"]
EXPOSE 8080 8112
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8080/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "/app/scripts/container-entrypoint.mjs"]
CMD ["serve", "--port", "8080"]
