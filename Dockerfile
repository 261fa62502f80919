FROM node:24.11.1-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY jobs ./jobs
COPY packages ./packages
COPY scripts ./scripts
RUN npm run build

FROM node:24.11.1-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM node:24.11.1-bookworm-slim
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080
# Events in flight outlive Node's default young generation and are then collected twice: more memory and CPU, not less.
ENV NODE_OPTIONS=--max-semi-space-size=32
WORKDIR /app
COPY package.json ./
COPY --from=packages /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
USER node
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["node", "dist/scripts/tallystick.js", "doctor", "health"]
ENTRYPOINT ["node", "dist/scripts/tallystick.js"]
CMD ["start"]
